package api

import (
	"strings"
	"testing"
	"time"
)

func TestDepth(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body string
		deep bool
	}{
		"flat":                     {`{"dropId":7,"userId":42}`, false},
		"many sizes":               {`{"sizes":[` + strings.Repeat(`{"size":"4","stock":1},`, 63) + `{"size":"5","stock":1}]}`, false},
		"as deep as may be":        {strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth), false},
		"one deeper":               {strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1), true},
		"objects":                  {strings.Repeat(`{"a":`, maxDepth+1), true},
		"brackets in a text":       {`{"name":"` + strings.Repeat("[", 100) + `"}`, false},
		"behind an escaped quote":  {`{"name":"\"` + strings.Repeat("[", 100) + `"}`, false},
		"behind an escaped escape": {`{"name":"\\",` + strings.Repeat("[", 100), true},
		"a text without an end":    {`"` + strings.Repeat("[", 100) + `\`, false},
	} {
		if got := tooDeep([]byte(c.body)) > 0; got != c.deep {
			t.Errorf("%s: too deep is %v", name, got)
		}
	}
}

// A body of nothing but brackets is refused at about the cost of any other.
func TestDeepBodiesAreRefusedQuickly(t *testing.T) {
	t.Parallel()
	body := []byte(strings.Repeat("[", maxBody))
	began := time.Now()
	for range 1000 {
		if _, err := decodeReserve(body, 0); err == nil {
			t.Fatal("taken")
		}
	}
	if took := time.Since(began); took > time.Second { // to read it would take several
		t.Errorf("1,000 took %v", took)
	}
}
