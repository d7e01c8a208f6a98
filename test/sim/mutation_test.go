package sim

import (
	"reflect"
	"testing"
)

// mutations leaves out each guard in turn, among worlds with the faults that
// miss it soonest (0: any). from is a seed near one that breaks a promise: the
// search begins there, to be short.
var mutations = []struct {
	off   Guards
	among Faults
	from  uint64
}{
	{off: Guards{NoFence: true}},
	{off: Guards{NoReleaseZrem: true}},
	{off: Guards{NoSettleZrem: true}},
	{off: Guards{NoReceipt: true}},
	{off: Guards{NoIdem: true}},
	{off: Guards{NoLimit: true}},
	{off: Guards{NoDeadline: true}},
	{off: Guards{NoStock: true}},
	{off: Guards{NoPrimaryKey: true}},
	{off: Guards{AckFirst: true}, among: faultCrash | faultPostgres},
	{off: Guards{NoWriterEpoch: true}, among: faultPause},
	{off: Guards{EngineEpoch: true}, among: faultPause},
	{off: Guards{UnfencedDone: true}, among: faultPause | faultSkew, from: 5630},
	{off: Guards{NoSoldCheck: true, NoWriterEpoch: true}, among: faultPause},
	{off: Guards{NoRestore: true}},
	{off: Guards{KeepLapsed: true}, among: faultPause},
	{off: Guards{NoMargin: true}},
	{off: Guards{NoStoredFloor: true}},
	{off: Guards{MarginIfLossy: true}, among: faultFailover | faultRestart},
	{off: Guards{NoClaim: true}, among: faultFlush},
	{off: Guards{RetryRebuild: true}, among: faultTwice | faultFailover, from: 4140},
	{off: Guards{HastyRebuild: true}, among: faultPause, from: 540},
	{off: Guards{HastyRebuild: true, NoRecheck: true}, among: faultPause},
	{off: Guards{StaleClaim: true}, among: faultRestart, from: 1490},
	{off: Guards{EagerClaim: true}, among: faultFlush},
	{off: Guards{NoSuperseded: true}, among: faultPause, from: 1560},
	{off: Guards{EpochsFall: true}, among: faultPause},
	{off: Guards{TrustLate: true}, among: faultLoss | faultFlush, from: 21600},
	{off: Guards{ForgetFound: true}, among: faultFailover | faultFlush, from: 570},
	{off: Guards{UnfencedLook: true}, among: faultPause},
	{off: Guards{NeverLook: true}},
}

func TestEachGuardIsNeeded(t *testing.T) {
	t.Parallel()
	w := &World{}
	tried := reflect.New(reflect.TypeFor[Guards]()).Elem()
	for _, m := range mutations {
		o := Options{Guards: m.off, Among: m.among}
		v := sweep(w, m.from, 3000, o)
		if v == nil {
			t.Errorf("without guards %s no promise breaks in 3000 worlds from seed %d", m.off, m.from)
			continue
		}
		t.Logf("%-24s seed %5d, %3d steps to see: %s", m.off, v.Seed, len(v.Trace), v.What)
		off := reflect.ValueOf(m.off)
		for i := range off.NumField() {
			if off.Field(i).Bool() {
				tried.Field(i).SetBool(true)
			}
		}
	}
	for i := range tried.NumField() {
		if !tried.Field(i).Bool() {
			t.Errorf("guard %s is left out nowhere", tried.Type().Field(i).Name)
		}
	}
}
