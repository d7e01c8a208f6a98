package sim

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdfast/holdfast/lua"
	"github.com/holdfast/holdfast/test/harness"
)

func TestMain(m *testing.M) {
	harness.Main(m, harness.Options{CheckLeaks: true})
}

// TestModelIsTheScripts gives the real scripts and the model the same random
// calls, and compares answers and the whole state after each. A script's time
// is Redis's own: the model may take any ms between the call and its answer.
func TestModelIsTheScripts(t *testing.T) {
	t.Parallel()
	env := harness.New(t)
	const seeds, calls = 60, 60
	answers := map[string]bool{}
	for seed := range uint64(seeds) {
		p := newPair(t, env.Redis(), fmt.Sprintf("%s:{%d}:", env.Prefix, seed), seed)
		p.answers = answers
		for range calls {
			p.call()
		}
	}
	for _, want := range []string{
		"reserve -1", "reserve -2", "reserve -3", "reserve -5", "reserve -6", "reserve -7", "reserve -8", "reserve -9", "reserve -10",
		"reserve -11", "reserve again", "settle 1", "settle 2", "settle 3", "settle -1", "settle -2", "settle -3", "settle -4",
		"release dead", "open 1", "open 2", "open -1", "claim 1", "claim 0", "claim -1", "admit ok", "restore odd", "level short",
		"reserve fenced", "settle fenced", "release fenced", "open fenced", "admit fenced", "restore fenced", "level fenced", "done fenced",
	} {
		if !answers[want] {
			t.Errorf("no call was answered %q: the comparison says nothing about it", want)
		}
	}
}

// sizeNames are the sizes of the model by their number; the last is sold nowhere.
var sizeNames = [maxSizes]string{"", "S", "M:|", "XL"}

// unfenced is the token of what looks at the standing by itself.
var unfenced = Token{Epoch: -1}

const (
	realServer  = 1 // in the model
	otherServer = 2
	hour        = 3_600_000
)

// pair is one partition twice: in Redis and as the model has it.
type pair struct {
	t      *testing.T
	redis  redis.UniversalClient
	base   string
	server string
	rng    rng
	model  State
	trial  State
	log    []string
	seen   []Hold // whatever was held at any time

	answers map[string]bool // kinds that were seen
	entries []string        // ids of the ledger's entries in Redis
}

func newPair(t *testing.T, client redis.UniversalClient, base string, seed uint64) *pair {
	t.Helper()
	p := &pair{t: t, redis: client, base: base, rng: rng{seed}}
	r, err := lua.Epoch(t.Context(), client, p.key("meta"))
	if err != nil {
		t.Fatal(err)
	}
	p.server = r.Server
	p.log = append(p.log, fmt.Sprintf("seed %d", seed))
	token := Token{Server: realServer, Claim: 1}
	p.claim(token, Standing{Server: realServer}, 0, false)
	p.open(token, 1)
	p.admit(token, 1)
	return p
}

func (p *pair) key(name string) string { return p.base + name }

func (p *pair) dropKey(kind string, drop int8) string {
	return p.base + kind + ":" + strconv.Itoa(int(drop))
}

func (p *pair) token(t Token) string {
	if t.Claim == 0 {
		return strconv.FormatInt(t.Epoch, 10)
	}
	return lua.ClaimToken(p.serverName(t.Server), claimName(t.Claim))
}

func (p *pair) serverName(id int32) string {
	if id == realServer {
		return p.server
	}
	return strings.Repeat("0", len(p.server))
}

func claimName(claim int32) string {
	if claim == 0 {
		return ""
	}
	return "claim" + strconv.Itoa(int(claim))
}

func keyName(key int32) string {
	if key == 0 {
		return ""
	}
	return "key" + strconv.Itoa(int(key))
}

func describe(h Hold) string {
	return fmt.Sprintf("%d:%d:%d:%d:%d:%s", h.Drop, h.Seq, h.User, h.Created, h.Deadline, sizeNames[h.Size])
}

func recordText(r Record) string {
	return fmt.Sprintf("%d:%c:%s", r.Ended, r.Kind, describe(r.Hold))
}

func (p *pair) now() int64 {
	now, err := p.redis.Time(p.t.Context()).Result()
	if err != nil {
		p.t.Fatal(err)
	}
	return now.UnixMilli()
}

// same makes a call on both sides. script gives the answer as text; model the
// answer at a moment. Both may be fenced.
func (p *pair) same(what string, token Token, script func(ctx context.Context) (string, error), model func(s *State, now int64) string) {
	p.t.Helper()
	p.log = append(p.log, what)
	before := p.now()
	answer, err := script(p.t.Context())
	after := p.now()
	if lua.Fenced(err) {
		answer = "fenced"
	} else if err != nil {
		p.failf("error: %v", err)
	}
	there := p.there()
	var difference string
	for now := before; now <= after; now++ {
		p.trial.copyFrom(&p.model)
		said := "fenced"
		if token == unfenced || p.trial.passes(&Guards{}, realServer, token) {
			said = model(&p.trial, now)
		}
		here := p.here(&p.trial)
		if said == answer && maps.Equal(here, there) {
			p.model.copyFrom(&p.trial)
			p.log = append(p.log, "   → "+answer)
			p.note(what, answer)
			return
		}
		if difference == "" {
			difference = fmt.Sprintf("answers: script %s, model %s\n%s", answer, said, differences(there, here))
		}
	}
	p.failf("script and model differ:\n%s", difference)
}

// note remembers what kind of answer a call had.
func (p *pair) note(what, answer string) {
	if p.answers == nil {
		return
	}
	script, _, _ := strings.Cut(what, " ")
	for part := range strings.SplitSeq(answer, "; ") {
		code, rest, _ := strings.Cut(part, " ")
		if strings.Contains(code, ":") {
			code = "again"
		}
		p.answers[script+" "+code] = true
		switch {
		case script == "release" && rest != "" && !strings.HasSuffix(rest, " 0"):
			p.answers["release dead"] = true
		case script == "restore" && rest != "" && rest != "0":
			p.answers["restore odd"] = true
		case script == "level" && rest != "" && rest != "[0 0 0 0]":
			p.answers["level short"] = true
		}
	}
}

func (p *pair) failf(format string, args ...any) {
	p.t.Helper()
	p.t.Fatalf("%s\n%s", fmt.Sprintf(format, args...), strings.Join(p.log, "\n"))
}

func differences(there, here map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(there)) {
		if here[k] != there[k] {
			out = append(out, fmt.Sprintf("%s: script %q, model %q", k, there[k], here[k]))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(here)) {
		if _, ok := there[k]; !ok {
			out = append(out, fmt.Sprintf("%s: script has none, model %q", k, here[k]))
		}
	}
	return strings.Join(out, "\n")
}

// here is the model's state as text.
func (p *pair) here(s *State) map[string]string {
	m := map[string]string{}
	number := func(k string, v int64) { m[k] = strconv.FormatInt(v, 10) }
	if s.Meta.Epoch != 0 {
		number("meta epoch", s.Meta.Epoch)
	}
	if s.Meta.Server != 0 {
		m["meta server"] = p.serverName(s.Meta.Server)
	}
	if s.Meta.Claim != 0 {
		m["meta claim"] = claimName(s.Meta.Claim)
		number("meta claimed", s.Meta.Claimed)
	}
	for id := int8(1); id < maxDrops; id++ {
		d := s.drop(id)
		if d == nil {
			continue
		}
		at := fmt.Sprintf("drop %d ", id)
		number(at+"seq", int64(d.Seq))
		number(at+"version", d.Version)
		for i, pool := range d.Pools {
			if pool.Total > 0 {
				number(at+"t:"+sizeNames[i], int64(pool.Total))
				number(at+"a:"+sizeNames[i], int64(pool.Available))
				number(at+"h:"+sizeNames[i], int64(pool.Held))
				number(at+"s:"+sizeNames[i], int64(pool.Sold))
			}
		}
		for user, n := range d.Buyers {
			if n > 0 {
				number(fmt.Sprintf("buyers %d %d", id, user), int64(n))
			}
		}
		for _, r := range d.Receipts {
			m[fmt.Sprintf("sold %d %d", id, r.Seq)] = recordText(r)
		}
		for _, r := range d.Idem {
			m[fmt.Sprintf("idem %d %s", id, keyName(r.Key))] = describe(r.Hold)
		}
	}
	for i, h := range s.Deadlines {
		m[fmt.Sprintf("deadlines %d", i)] = fmt.Sprintf("%s at %d", describe(h.Hold), h.Deadline)
	}
	// By place: XADD takes a time of its own for the id, a little later.
	entry, place, n := int64(0), -1, 0
	for _, f := range s.Ledger {
		if n++; f.Entry != entry {
			entry, place, n = f.Entry, place+1, 1
		}
		m[fmt.Sprintf("ledger %d %d", place, n)] = recordText(f.Record)
	}
	for i, r := range s.Dead {
		m[fmt.Sprintf("dead %d", i)] = recordText(r)
	}
	return m
}

// there is Redis's state as text. That hold keys are those of the deadlines is
// checked in passing.
func (p *pair) there() map[string]string {
	ctx, m := p.t.Context(), map[string]string{}
	pipe := p.redis.Pipeline()
	meta := pipe.HGetAll(ctx, p.key("meta"))
	deadlines := pipe.ZRangeWithScores(ctx, p.key("deadlines"), 0, -1)
	ledger, dead := pipe.XRange(ctx, p.key("ledger"), "-", "+"), pipe.XRange(ctx, p.key("dead"), "-", "+")
	hashes := map[string]*redis.MapStringStringCmd{}
	for id := int8(1); id < maxDrops; id++ {
		for _, kind := range []string{"drop", "buyers", "sold", "idem"} {
			hashes[fmt.Sprintf("%s %d ", kind, id)] = pipe.HGetAll(ctx, p.dropKey(kind, id))
		}
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		p.failf("read the state: %v", err)
	}
	for k, v := range meta.Val() {
		if k != "partitions" {
			m["meta "+k] = v
		}
	}
	for at, hash := range hashes {
		for k, v := range hash.Val() {
			counter := k == "seq" || k == "version" || (len(k) > 1 && k[1] == ':')
			if !strings.HasPrefix(at, "drop") || counter {
				m[at+k] = v
			}
		}
	}
	for i, z := range deadlines.Val() {
		m[fmt.Sprintf("deadlines %d", i)] = fmt.Sprintf("%s at %d", z.Member, int64(z.Score))
	}
	p.entries = p.entries[:0]
	for i, msg := range ledger.Val() {
		p.entries = append(p.entries, msg.ID)
		for n, v := range msg.Values {
			m[fmt.Sprintf("ledger %d %s", i, n)] = fmt.Sprint(v)
		}
	}
	for i, msg := range dead.Val() {
		m[fmt.Sprintf("dead %d", i)] = fmt.Sprint(msg.Values["record"])
	}
	p.holdKeys(deadlines.Val())
	return m
}

// holdKeys checks that each hold has its key until its deadline.
func (p *pair) holdKeys(holds []redis.Z) {
	for _, z := range holds {
		member := z.Member.(string)
		f := strings.SplitN(member, ":", 3)
		value, err := p.redis.Get(p.t.Context(), p.base+"hold:"+f[0]+":"+f[1]).Result()
		switch {
		case errors.Is(err, redis.Nil):
			if now := p.now(); now < int64(z.Score) {
				p.failf("hold %s has no key %d ms before its deadline", member, int64(z.Score)-now)
			}
		case err != nil:
			p.failf("read a hold: %v", err)
		case value != member:
			p.failf("hold key has %q for %q", value, member)
		}
	}
}

// lapse waits until the next deadline, if it is near.
func (p *pair) lapse() {
	if len(p.model.Deadlines) == 0 {
		return
	}
	at := p.model.Deadlines[0].Deadline
	if at-p.now() > 1000 {
		return
	}
	harness.Eventually(p.t, 5*time.Second, func() error {
		if p.now() <= at {
			return errors.New("not lapsed yet")
		}
		return nil
	})
}
