package sim

import (
	"reflect"
	"strings"
)

// Guards are what keeps the promises. Each can be left out of a world, to see
// that the world then breaks one: the zero value has them all.
type Guards struct {
	// Scripts.
	NoFence       bool // scripts look neither at the epoch nor at the server
	NoReleaseZrem bool // release leaves the members among the deadlines
	NoSettleZrem  bool // so does settle
	NoReceipt     bool // a purchase leaves no receipt
	NoIdem        bool // a reservation leaves no record of its key
	NoLimit       bool // the limit per customer is not looked at
	NoDeadline    bool // settle ends holds that have lapsed and are not back yet
	NoStock       bool // reserve does not look at what is available

	// The writer.
	NoPrimaryKey  bool // Postgres takes a purchase as often as it comes
	AckFirst      bool // entries leave the ledger before the commit
	NoWriterEpoch bool // Postgres takes commits of any epoch
	EngineEpoch   bool // the commit bears the engine's epoch, not that of the server read from
	UnfencedDone  bool // entries are taken off whatever server is primary by then
	NoSoldCheck   bool // Postgres counts beyond the stock

	// The rebuild.
	NoRestore     bool // purchases that Redis lacks are not put back
	KeepLapsed    bool // a rebuild does not release what has lapsed
	NoMargin      bool // sequence numbers go on from where Redis has them
	NoStoredFloor bool // the margin is added to what Redis has, and not kept
	MarginIfLossy bool // the margin is only added where Redis shows that it may have lost something
	NoClaim       bool // any rebuild may write at any time on its server
	RetryRebuild  bool // a call of a rebuild that got no answer is made again, and it goes on
	HastyRebuild  bool // a served partition is rebuilt as soon as Postgres has a greater epoch
	NoRecheck     bool // a rebuild does not look whether its epoch is still the newest before it admits
	StaleClaim    bool // a claim counts also when another epoch was admitted since its maker looked
	EagerClaim    bool // a rebuild that lost its claim takes it again and goes on
	NoSuperseded  bool // an old primary that woke is rebuilt too

	// Instances.
	EpochsFall   bool // an instance takes any admitted epoch, also an older one
	TrustLate    bool // a reply that comes late counts as one of the present epoch
	ForgetFound  bool // what was found in Redis once is not looked for again
	UnfencedLook bool // lost work is looked for on any server
	NeverLook    bool // lost work is not looked for
}

// String names the guards that are left out.
func (g Guards) String() string {
	var off []string
	v := reflect.ValueOf(g)
	for i := range v.NumField() {
		if v.Field(i).Bool() {
			off = append(off, v.Type().Field(i).Name)
		}
	}
	if len(off) == 0 {
		return "none"
	}
	return strings.Join(off, ", ")
}
