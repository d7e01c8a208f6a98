package fault

import (
	"testing"
	"time"
)

// TestExcused: what a fault excuses, and what not.
func TestExcused(t *testing.T) {
	t.Parallel()
	r := ran{losses: []loss{
		{back: time.Second, from: at(5000), to: at(7000), unwritten: map[int64]int64{1: at(4800)}},
		{back: forgetsAll, from: at(9000), to: at(9500), unwritten: map[int64]int64{1: at(8900)}},
	}}
	for name, c := range map[string]struct {
		o    op
		want bool
	}{
		"before, and in Postgres":    {op{Drop: 1, Kind: purchase, Call: at(4700), Return: at(4710)}, false},
		"before, and not written":    {op{Drop: 1, Kind: purchase, Call: at(4805), Return: at(4810)}, true},
		"before, ledger not read":    {op{Drop: 2, Kind: purchase, Call: at(4700), Return: at(4710)}, true},
		"while it lasts":             {op{Drop: 1, Kind: purchase, Call: at(6000), Return: at(6010)}, true},
		"told late":                  {op{Drop: 1, Kind: purchase, Call: at(6000), Return: at(8000), At: 6001}, true},
		"done after it, called then": {op{Drop: 1, Kind: purchase, Call: at(6000), Return: at(8000), At: 7500}, false},
		"between two":                {op{Drop: 1, Kind: purchase, Call: at(8000), Return: at(8010)}, false},
		"repeated then, done before": {op{Drop: 1, Kind: purchase, Call: at(6000), Return: at(6010), At: 3000, Result: repeated}, false},
		"after all":                  {op{Drop: 1, Kind: purchase, Call: at(9501), Return: at(9510)}, false},
		"a hold that nobody writes":  {op{Drop: 1, Kind: reserve, Call: at(3000), Return: at(3010), At: 3005}, true},
	} {
		if got := r.excused(c.o); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	r.losses = r.losses[:1]
	if r.excused(op{Drop: 1, Kind: reserve, Call: at(3900), Return: at(3990)}) {
		t.Error("a hold that replicas had is excused")
	}
}
