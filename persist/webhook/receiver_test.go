package webhook

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast/holdfast/persist"
)

func TestParseReceiver(t *testing.T) {
	t.Parallel()
	for text, events := range map[string][]string{
		"https://a.example/hook":                                           persist.EventTypes(),
		"https://a.example:8443/hook?key=1#purchase.completed":             {"purchase.completed"},
		"https://[2606:4700::1]/#drop.sold_out+reservation.expired":        {"drop.sold_out", "reservation.expired"},
		"http://10.0.0.1/h":                                                persist.EventTypes(),
		"https://a.example/" + strings.Repeat("a", 100) + "#drop.sold_out": {"drop.sold_out"},
	} {
		r, err := ParseReceiver(text)
		url, _, _ := strings.Cut(text, "#")
		if err != nil || r.URL != url || !slices.Equal(r.Events, events) {
			t.Errorf("%s is %+v, %v", text, r, err)
		}
	}
	for _, text := range []string{
		"", "a.example", "ftp://a.example", "https://", "https:///path", "https://:443/", "https://%zz", "https://a.example/\x00", "https://a.example/\xff",
		"https://ada:secret@a.example/", "https://ada@a.example/", "https://a.example/#", "https://a.example/#drop.opened",
		"https://a.example/#drop.sold_out+", "https://a.example/#drop.sold_out+drop.sold_out", "https://a.example/" + strings.Repeat("a", maxURL),
	} {
		if _, err := ParseReceiver(text); err == nil {
			t.Errorf("%q was taken", text)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("the error tells a password: %v", err)
		}
	}
}

func TestCheckReceivers(t *testing.T) {
	t.Parallel()
	parse := func(texts ...string) (all []Receiver) {
		for _, text := range texts {
			r, err := ParseReceiver(text)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, r)
		}
		return all
	}
	many := make([]string, 0, MaxReceivers+1)
	for i := range MaxReceivers + 1 {
		many = append(many, fmt.Sprintf("https://a.example/%d", i))
	}
	for _, row := range []struct {
		receivers []Receiver
		plain, ok bool
	}{
		{parse("https://a.example/1", "https://a.example/2"), false, true},
		{parse("http://a.example/1"), true, true},
		{parse("http://a.example/1"), false, false},
		{parse("https://a.example/1#drop.sold_out", "https://a.example/1#purchase.completed"), false, false},
		{parse(many[1:]...), false, true},
		{parse(many...), false, false},
		{[]Receiver{{}}, true, false},
	} {
		if err := CheckReceivers(row.receivers, row.plain); (err == nil) != row.ok {
			t.Errorf("%v: %v", row.receivers, err)
		}
	}
}

func TestCheckSecret(t *testing.T) {
	t.Parallel()
	secret := func(n int) string { return "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, n)) }
	for text, ok := range map[string]bool{
		secret(24): true, secret(64): true, secret(23): false, secret(65): false,
		"": false, "whsec_": false, strings.TrimPrefix(secret(32), "whsec_"): false, "whsec_!!!": false,
	} {
		if err := CheckSecret(text); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestPauses(t *testing.T) {
	t.Parallel()
	cfg := Config{Store: &persist.Store{}, Receivers: []Receiver{{}}, Secrets: []string{""}}
	if err := cfg.defaults(); err != nil {
		t.Fatal(err)
	}
	l := &line{cfg: cfg}
	var least, most time.Duration
	for try := 1; try < cfg.Tries; try++ {
		low, high := l.pause(try, nil), time.Duration(0)
		for range 200 {
			p := l.pause(try, nil)
			low, high = min(low, p), max(high, p)
		}
		least, most = least+low, most+high
		want := cfg.RetryMost
		if try < 10 {
			want = 5 * time.Second * time.Duration([]int{1, 3, 9, 27, 81, 243, 729, 2187, 6561}[try-1])
		}
		if low < want*4/5 || high > want*6/5 || high-low < want/5 {
			t.Errorf("after %d tries %v … %v, want about %v", try, low, high, want)
		}
	}
	if least < 55*time.Hour || most > 96*time.Hour {
		t.Errorf("all tries take %v … %v, want about three days", least, most)
	}
	if p := l.pause(1, &refusal{wait: time.Hour}); p != time.Hour {
		t.Errorf("asked to wait an hour: %v", p)
	}
	if p := l.pause(1000, &refusal{wait: time.Second}); p > cfg.RetryMost*6/5 {
		t.Errorf("%v after very many tries", p)
	}
}
