package sim

import (
	"reflect"
	"testing"
)

// mutations is every guard, with the worlds that miss it soonest (0: any) and
// how many seeds may pass before one does.
var mutations = []struct {
	off   Guards
	among Faults
	seeds uint64
}{
	{Guards{NoFence: true}, 0, 100},
	{Guards{NoReleaseZrem: true}, 0, 100},
	{Guards{NoSettleZrem: true}, 0, 100},
	{Guards{NoReceipt: true}, 0, 100},
	{Guards{NoIdem: true}, 0, 500},
	{Guards{NoLimit: true}, 0, 100},
	{Guards{NoDeadline: true}, 0, 500},
	{Guards{NoStock: true}, 0, 100},
}

func TestEachGuardIsNeeded(t *testing.T) {
	_ = reflect.TypeFor[Guards]
	_ = mutations
	w := &World{}
	for _, n := range []struct {
		g Guards
		a Faults
	}{
		{Guards{UnfencedDone: true}, faultLoss | faultFailover | faultSkew},
		{Guards{UnfencedDone: true}, faultLoss | faultPause | faultSkew},
		{Guards{EagerClaim: true}, faultFlush | faultLoss},
		{Guards{EagerClaim: true}, faultFlush},
		{Guards{NoSuperseded: true}, faultPause},
		{Guards{NoSuperseded: true}, faultPause | faultLoss},
		{Guards{NoRecheck: true, HastyRebuild: true}, faultPause},
		{Guards{HastyRebuild: true}, faultPause},
		{Guards{TrustLate: true}, faultLoss | faultFailover},
		{Guards{TrustLate: true}, faultLoss | faultEverysec},
		{Guards{TrustLate: true}, faultLoss | faultFlush},
		{Guards{TrustLate: true}, faultLoss | faultPause},
		{Guards{ForgetFound: true}, faultFlush},
		{Guards{ForgetFound: true}, faultFailover},
		{Guards{ForgetFound: true}, faultEverysec},
		{Guards{ForgetFound: true}, faultFailover | faultFlush},
		{Guards{StaleClaim: true}, faultFlush},
		{Guards{StaleClaim: true}, faultRestart},
		{Guards{UnfencedLook: true}, faultPause},
		{Guards{KeepLapsed: true}, faultPause},
		{Guards{KeepLapsed: true}, faultFailover},
		{Guards{MarginIfLossy: true}, faultFailover | faultRestart},
		{Guards{RetryRebuild: true}, faultFailover | faultLoss},
		{Guards{RetryRebuild: true}, faultFlush | faultLoss},
		{Guards{NoClaim: true}, faultFlush},
		{Guards{NoSoldCheck: true, NoWriterEpoch: true}, faultPause},
		{Guards{AckFirst: true}, faultCrash | faultPostgres},
	} {
		for seed := uint64(1); ; seed++ {
			if seed == 8000 {
				t.Log(n.g, n.a, "NOTHING")
				break
			}
			if what := w.Run(seed, Options{Guards: n.g, Among: n.a}); what != "" {
				t.Log(n.g, n.a, seed, what)
				break
			}
		}
	}
}
