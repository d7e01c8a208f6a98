package sim

// Postgres is what the history knows: every transaction is one step, and the
// epoch is checked inside it (a row lock in the product: FOR SHARE by writers,
// UPDATE by rebuilds).
type Postgres struct {
	Down      bool
	Epoch     int64 // given to a rebuild last
	Raised    int64 // when
	Admitted  int64 // known to be served
	Floor     [maxDrops]int32
	Sold      [maxDrops][maxSizes]int32
	Total     [maxDrops][maxSizes]int32
	Sized     [maxDrops]bool
	Ends      []Record // reservations: the first end that came
	Purchases []Record
	Refused   []Record
	Lost      []Record
}

func (p *Postgres) clear() {
	*p = Postgres{Ends: p.Ends[:0], Purchases: p.Purchases[:0], Refused: p.Refused[:0], Lost: p.Lost[:0]}
}

func find(in []Record, drop int8, seq int32) *Record {
	for i := range in {
		if in[i].Drop == drop && in[i].Seq == seq {
			return &in[i]
		}
	}
	return nil
}

func (p *Postgres) poolOf(r *Record) *int32 {
	size := r.Size
	if !p.Sized[r.Drop] {
		size = 0
	}
	return &p.Sold[r.Drop][size]
}

func (p *Postgres) total(r *Record) int32 {
	size := r.Size
	if !p.Sized[r.Drop] {
		size = 0
	}
	return p.Total[r.Drop][size]
}

// Outcomes of a call.
const (
	outcomeOK = iota
	outcomeFenced
	outcomeAway     // not done, and known to be not
	outcomeRefused  // by a CHECK
	outcomeOldEpoch // by the epoch's guard
)

// commit is a writer's transaction. twice says that a purchase came under an
// id that another one has.
func (p *Postgres) commit(g *Guards, epoch int64, records []Filed) (outcome int, twice bool) {
	if epoch != p.Epoch && !g.NoWriterEpoch {
		return outcomeOldEpoch, false
	}
	ends, purchases, sold := len(p.Ends), len(p.Purchases), p.Sold
	for i := range records {
		r := &records[i].Record
		if find(p.Ends, r.Drop, r.Seq) == nil {
			p.Ends = append(p.Ends, *r)
		}
		if r.Kind != Purchased || find(p.Refused, r.Drop, r.Seq) != nil {
			continue
		}
		if before := find(p.Purchases, r.Drop, r.Seq); before != nil && !g.NoPrimaryKey {
			twice = twice || before.Hold != r.Hold
			continue
		}
		n := p.poolOf(r)
		*n++
		if *n > p.total(r) && !g.NoSoldCheck {
			p.Ends, p.Purchases, p.Sold = p.Ends[:ends], p.Purchases[:purchases], sold
			return outcomeRefused, false
		}
		p.Purchases = append(p.Purchases, *r)
	}
	return outcomeOK, twice
}

// raise keeps and returns the least sequence number for what comes next.
func (p *Postgres) raise(g *Guards, drop int8, seq int32) int32 {
	floor := seq
	for i := range p.Ends {
		if p.Ends[i].Drop == drop {
			floor = max(floor, p.Ends[i].Seq)
		}
	}
	if !g.NoStoredFloor {
		floor = max(floor, p.Floor[drop])
	}
	p.Floor[drop] = floor + margin
	return p.Floor[drop]
}

// margin is more than a world hands out between two rebuilds.
const margin = 1000
