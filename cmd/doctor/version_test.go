package doctor

import (
	"testing"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
)

// TestVersions has those be refused that no test can start.
func TestVersions(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]State{
		"redis 7.0.0": OK, "redis 7.0.15": OK, "redis 8.2.1": OK, "redis 10.0": OK, "redis 6.2.14": Fail, "redis ": Fail, "redis x.y": Fail,
		"valkey 7.2.5": OK, "valkey 8.1.0": OK, "valkey 7.1.0": Fail,
	} {
		var r Report
		kind, number := version[:len(version)-len(after(version))-1], after(version)
		redisVersion(&r, engine.Server{Addr: "a:1", Kind: kind, Version: number})
		if r.Findings[0].State != want {
			t.Errorf("%s: %+v", version, r.Findings[0])
		}
	}
	for version, want := range map[int]State{130_016: Fail, 140_000: OK, 170_002: OK} {
		var r Report
		postgresVersion(&r, persist.Inspection{Version: version, VersionText: "x"})
		if r.Findings[0].State != want {
			t.Errorf("%d: %+v", version, r.Findings[0])
		}
	}
}

func after(s string) string {
	for i := range s {
		if s[i] == ' ' {
			return s[i+1:]
		}
	}
	return ""
}
