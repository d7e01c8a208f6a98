package api

import (
	"slices"
	"sync"

	"github.com/holdfast/holdfast/persist"
)

// recentDrops are drops as Postgres last told them, at most maxRecent with the
// greatest ids.
type recentDrops struct {
	mu   sync.Mutex
	byID map[int64]persist.Drop
	ids  []int64 // of byID, falling
}

const maxRecent = 2000

func newRecentDrops() *recentDrops {
	return &recentDrops{byID: map[int64]persist.Drop{}}
}

func (r *recentDrops) remember(drops []persist.Drop) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range drops {
		if _, known := r.byID[d.ID]; !known {
			at, _ := slices.BinarySearchFunc(r.ids, d.ID, func(have, want int64) int { return int(want - have) })
			r.ids = slices.Insert(r.ids, at, d.ID)
		}
		r.byID[d.ID] = d
	}
	for len(r.ids) > maxRecent {
		last := len(r.ids) - 1
		delete(r.byID, r.ids[last])
		r.ids = r.ids[:last]
	}
}

func (r *recentDrops) drop(id int64) (persist.Drop, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d, ok := r.byID[id]
	return d, ok
}

// page is what is known of a page of the catalogue; nil if nothing is.
func (r *recentDrops) page(limit int, before int64) []persist.Drop {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []persist.Drop
	for _, id := range r.ids {
		if (before == 0 || id < before) && len(out) < limit {
			out = append(out, r.byID[id])
		}
	}
	return out
}
