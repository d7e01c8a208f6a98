package fault

import "fmt"

// given is one place where a reservation's id was seen: an answer, a store, a
// report. What is not told there is zero.
type given struct {
	id, user int64
	key      string // Idempotency-Key
	created  int64  // Unix ms
	where    string
}

// givenOf is where ids of a drop were seen: what clients were told, what the
// stores have in the end, and what a snapshot had before or after lost data.
func givenOf(ops []op, fates map[int64]fate, snaps ...snapshot) []given {
	var out []given
	for _, o := range ops {
		if o.Kind == reserve && o.ID != 0 {
			out = append(out, given{o.ID, o.User, o.Key, o.At, "an answer"})
		}
	}
	for id, f := range fates {
		out = append(out, given{id, f.User, f.Key, f.Created, "the stores"})
	}
	for _, snap := range snaps {
		for id, k := range snap.holds {
			out = append(out, given{id, k.User, k.Key, k.Created, "Redis at a loss"})
		}
	}
	return out
}

// reused are complaints about ids that stand for two reservations: of several
// people, Idempotency-Keys or beginnings. They begin with the drop's, so that
// only two of one drop could be the same.
func reused(seen []given) (wrong []string) {
	all := map[int64]given{} // what is known of each
	for _, g := range seen {
		have, ok := all[g.id]
		if !ok {
			all[g.id] = g
			continue
		}
		if have.user != 0 && g.user != 0 && have.user != g.user || have.key != "" && g.key != "" && have.key != g.key ||
			have.created != 0 && g.created != 0 && have.created != g.created {
			wrong = append(wrong, fmt.Sprintf("id %d stands for two reservations: %+v and %+v", g.id, have, g))
		}
		if have.user == 0 {
			have.user = g.user
		}
		if have.key == "" {
			have.key = g.key
		}
		if have.created == 0 {
			have.created = g.created
		}
		all[g.id] = have
	}
	return wrong
}
