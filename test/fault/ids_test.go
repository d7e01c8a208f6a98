package fault

import "testing"

// TestIdsReused has hand-written answers and stores in which an id stands for
// two reservations, or does not.
func TestIdsReused(t *testing.T) {
	t.Parallel()
	told := op{Kind: reserve, ID: 5, User: 7, Key: "a", At: 100, Result: done}
	with := func(change func(*op)) op {
		o := told
		change(&o)
		return o
	}
	for name, c := range map[string]struct {
		ops   []op
		fates map[int64]fate
		snap  snapshot
		wrong int
	}{
		"repeated": {
			ops:   []op{told, with(func(o *op) { o.Result = repeated })},
			fates: map[int64]fate{5: {User: 7, Key: "a", Created: 100}},
			snap:  snapshot{holds: map[int64]known{5: {ID: 5, User: 7, Created: 100}}},
		},
		"others": {
			ops:   []op{told, with(func(o *op) { o.ID, o.Key, o.At = 6, "b", 101 })},
			fates: map[int64]fate{7: {User: 7, Key: "c", Created: 100}},
		},
		"another key":              {ops: []op{told, with(func(o *op) { o.Key = "b" })}, wrong: 1},
		"another user":             {ops: []op{told, with(func(o *op) { o.User = 8 })}, wrong: 1},
		"another time":             {ops: []op{told, with(func(o *op) { o.At = 900 })}, wrong: 1},
		"another in the stores":    {ops: []op{told}, fates: map[int64]fate{5: {User: 8, Created: 100}}, wrong: 1},
		"given anew after a loss":  {ops: []op{told}, fates: map[int64]fate{5: {User: 7, Created: 4000}}, wrong: 1},
		"another key in the store": {ops: []op{told}, fates: map[int64]fate{5: {User: 7, Key: "b", Created: 100}}, wrong: 1},
		"lost, and nobody was told of either": {
			fates: map[int64]fate{5: {User: 7, Created: 4000}},
			snap:  snapshot{holds: map[int64]known{5: {ID: 5, User: 7, Created: 100}}}, wrong: 1,
		},
	} {
		if wrong := reused(givenOf(c.ops, c.fates, c.snap)); len(wrong) != c.wrong {
			t.Errorf("%s: %q, want %d complaints", name, wrong, c.wrong)
		}
	}
}
