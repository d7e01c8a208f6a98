package sim

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/holdfast/holdfast/lua"
)

// call makes one random call.
func (p *pair) call() {
	r := &p.rng
	epoch := p.model.Meta.Epoch
	if r.one(12) {
		epoch += int64(r.n(3)) - 1
	}
	token := Token{Epoch: epoch}
	if p.model.Meta.Claim != 0 && !r.one(4) {
		token = Token{Server: realServer, Claim: p.model.Meta.Claim}
		if r.one(8) {
			token = Token{Server: int32(1 + r.n(2)), Claim: int32(1 + r.n(3))}
		}
	}
	drop := int8(1 + r.n(2))
	if !r.one(3) {
		drop = 1
	}
	switch n := r.n(20); {
	case n < 7:
		p.reserve(token, drop)
	case n < 12:
		p.settle(token, drop)
	case n < 14:
		p.lapse()
		p.release(token)
	case n == 14:
		p.open(token, drop)
	case n == 15:
		seen := Standing{Epoch: p.model.Meta.Epoch, Server: realServer}
		if r.one(4) {
			seen.Epoch++
		}
		if r.one(6) {
			seen.Server = otherServer
		}
		claim := Token{Claim: int32(1 + r.n(3))}
		p.claim(claim, seen, int64(r.n(2))*hour, r.one(3))
	case n == 16:
		p.restore(token, drop)
	case n == 17:
		p.level(token, drop)
	case n == 18:
		p.done(token)
	default:
		p.admit(token, p.model.Meta.Epoch+int64(r.n(3)))
	}
}

func (p *pair) reserve(token Token, drop int8) {
	r := &p.rng
	wishes := make([]Wish, 1+r.n(5))
	items := make([]lua.ReserveItem, len(wishes))
	for i := range wishes {
		w := Wish{User: int8(1 + r.n(4)), Size: int8(r.n(maxSizes)), Key: int32(max(0, r.n(12)-4))}
		if r.one(2) && p.model.Drops[drop].Known && !p.model.Drops[drop].Sized {
			w.Size = 0
		}
		wishes[i], items[i] = w, lua.ReserveItem{User: int64(w.User), Size: sizeNames[w.Size], Key: keyName(w.Key)}
	}
	limits := Limits{MaxSeq: 1 << 25, MaxLedger: 1000}
	if r.one(10) {
		limits = Limits{MaxSeq: p.model.Drops[drop].Seq + 1, MaxLedger: r.n(5)}
	}
	p.same(fmt.Sprintf("reserve %+v drop %d %+v %+v", token, drop, limits, wishes), token,
		func(ctx context.Context) (string, error) {
			reply, err := lua.Reserve(ctx, p.redis, lua.ReserveArgs{
				Meta: p.key("meta"), Token: p.token(token), DropKey: p.dropKey("drop", drop), Deadlines: p.key("deadlines"),
				Buyers: p.dropKey("buyers", drop), Idem: p.dropKey("idem", drop), Ledger: p.key("ledger"),
				HoldPrefix: p.dropKey("hold", drop) + ":", Events: p.key("events"), Drop: int64(drop),
				MaxSeq: int64(limits.MaxSeq), MaxLedger: int64(limits.MaxLedger), Items: items,
			})
			var text strings.Builder
			for _, x := range reply.Results {
				switch {
				case x.Before != "":
					text.WriteString(x.Before + "; ")
				case x.Seq > 0:
					text.WriteString(strconv.FormatInt(x.Seq, 10) + "; ")
				default:
					text.WriteString(strconv.FormatInt(int64(x.Refusal), 10) + "; ")
				}
			}
			return text.String(), err
		},
		func(s *State, now int64) string {
			out := make([]Granted, len(wishes))
			s.Reserve(&Guards{}, now, drop, limits, wishes, out)
			var text strings.Builder
			for _, g := range out {
				if g.Before {
					text.WriteString(describe(g.Hold) + "; ")
					continue
				}
				text.WriteString(strconv.Itoa(int(g.Code)) + "; ")
				if g.Code > 0 {
					p.seen = append(p.seen, g.Hold)
				}
			}
			return text.String()
		})
}

func (p *pair) settle(token Token, drop int8) {
	r := &p.rng
	kind := Purchased
	if r.one(3) {
		kind = Cancelled
	}
	seqs := make([]int32, 1+r.n(3))
	wide := make([]int64, len(seqs))
	for i := range seqs {
		seqs[i] = int32(r.n(int(p.model.Drops[drop].Seq) + 2))
		if len(p.model.Deadlines) > 0 && !r.one(3) {
			seqs[i] = p.model.Deadlines[r.n(len(p.model.Deadlines))].Seq
		}
		wide[i] = int64(seqs[i])
	}
	p.same(fmt.Sprintf("settle %+v drop %d %c %v", token, drop, kind, seqs), token,
		func(ctx context.Context) (string, error) {
			results, err := lua.Settle(ctx, p.redis, lua.SettleArgs{
				Meta: p.key("meta"), Token: p.token(token), DropKey: p.dropKey("drop", drop), Deadlines: p.key("deadlines"),
				Buyers: p.dropKey("buyers", drop), Sold: p.dropKey("sold", drop), Ledger: p.key("ledger"),
				HoldPrefix: p.dropKey("hold", drop) + ":", Events: p.key("events"), Drop: int64(drop),
				Purchase: kind == Purchased, Seqs: wide,
			})
			var text strings.Builder
			for _, x := range results {
				fmt.Fprintf(&text, "%d %s; ", x.Code, x.Record)
			}
			return text.String(), err
		},
		func(s *State, now int64) string {
			out := make([]Settlement, len(seqs))
			s.Settle(&Guards{}, now, drop, kind, seqs, out)
			var text strings.Builder
			for _, x := range out {
				record := ""
				if x.Code > 0 {
					record = recordText(x.Record)
				}
				fmt.Fprintf(&text, "%d %s; ", x.Code, record)
			}
			return text.String()
		})
}

func (p *pair) release(token Token) {
	most := 1 + p.rng.n(4)
	p.same(fmt.Sprintf("release %+v %d", token, most), token,
		func(ctx context.Context) (string, error) {
			x, err := lua.Release(ctx, p.redis, lua.ReleaseArgs{
				Meta: p.key("meta"), Token: p.token(token), Deadlines: p.key("deadlines"), Ledger: p.key("ledger"),
				Dead: p.key("dead"), DropPrefix: p.base + "drop:", BuyersPrefix: p.base + "buyers:", Events: p.key("events"),
				Most: int64(most),
			})
			return fmt.Sprintf("%d %d %d %d", x.Released, x.NextMS, x.LateMS, x.Dead), err
		},
		func(s *State, now int64) string {
			x := s.Release(&Guards{}, now, most)
			return fmt.Sprintf("%d %d %d %d", x.Released, x.Next, x.Late, x.Dead)
		})
}

func (p *pair) open(token Token, drop int8) {
	r := &p.rng
	terms := Terms{Life: hour, Limit: int32(r.n(4)), Sized: r.one(2), First: int32(1 + r.n(3))}
	if r.one(2) {
		terms.Life = int64(20 + r.n(60))
	}
	if r.one(10) {
		terms.Start = p.now() + hour
	}
	if r.one(10) {
		terms.End = p.now() - hour
	}
	if d := p.model.Drops[drop]; d.Known && r.one(2) { // the same again
		terms = Terms{Start: d.Start, End: d.End, Life: d.Life, Limit: d.Limit, Sized: d.Sized, First: 1}
		for i := range d.Pools {
			terms.Total[i] = d.Pools[i].Total
		}
	} else if terms.Sized {
		terms.Total[1], terms.Total[2] = int32(1+r.n(6)), int32(1+r.n(6))
		terms.Sold[1] = int32(r.n(2))
	} else {
		terms.Total[0] = int32(1 + r.n(9))
	}
	args := lua.OpenArgs{
		Meta: p.key("meta"), Token: p.token(token), DropKey: p.dropKey("drop", drop), Events: p.key("events"),
		Drop: int64(drop), StartMS: terms.Start, EndMS: terms.End, HoldMS: terms.Life, Limit: int64(terms.Limit),
		First: int64(terms.First), Sized: terms.Sized,
	}
	for i, n := range terms.Total {
		if n > 0 {
			args.Sizes = append(args.Sizes, lua.OpenSize{Size: sizeNames[i], Total: int64(n), Sold: int64(terms.Sold[i])})
		}
	}
	p.same(fmt.Sprintf("open %+v drop %d %+v", token, drop, terms), token,
		func(ctx context.Context) (string, error) {
			code, err := lua.Open(ctx, p.redis, args)
			return strconv.Itoa(int(code)), err
		},
		func(s *State, _ int64) string { return strconv.Itoa(s.Open(drop, &terms)) })
}

func (p *pair) claim(claim Token, seen Standing, patience int64, renew bool) {
	p.same(fmt.Sprintf("claim %d seen %+v patience %d renew %v", claim.Claim, seen, patience, renew), unfenced,
		func(ctx context.Context) (string, error) {
			code, err := lua.Claim(ctx, p.redis, p.key("meta"), p.serverName(seen.Server), claimName(claim.Claim), patience, renew, seen.Epoch)
			return strconv.Itoa(int(code)), err
		},
		func(s *State, now int64) string {
			return strconv.Itoa(s.Claim(&Guards{}, realServer, now, seen, claim.Claim, patience, renew))
		})
}

func (p *pair) admit(token Token, epoch int64) {
	if token.Claim == 0 {
		return // admit.lua takes claims only
	}
	p.same(fmt.Sprintf("admit %+v %d", token, epoch), unfenced,
		func(ctx context.Context) (string, error) {
			return "ok", lua.Admit(ctx, p.redis, p.key("meta"), p.token(token), epoch)
		},
		func(s *State, _ int64) string {
			if !s.Admit(&Guards{}, realServer, token, epoch) {
				return "fenced"
			}
			return "ok"
		})
}

// restore puts back what was held at some time, as if it had been sold elsewhere.
func (p *pair) restore(token Token, drop int8) {
	r := &p.rng
	var records []Record
	var args []lua.RestorePurchase
	for range r.n(4) {
		h := Hold{Drop: drop, User: int8(1 + r.n(4)), Size: int8(r.n(maxSizes)), Seq: int32(1 + r.n(40)), Created: 1000, Deadline: 2000}
		if len(p.seen) > 0 && !r.one(3) {
			h = p.seen[r.n(len(p.seen))]
		}
		if h.Drop != drop || find(records, h.Drop, h.Seq) != nil {
			continue // Postgres has each id once
		}
		records = append(records, Record{h, 3000, Purchased})
		args = append(args, lua.RestorePurchase{Seq: int64(h.Seq), Record: recordText(records[len(records)-1])})
	}
	p.same(fmt.Sprintf("restore %+v drop %d %+v", token, drop, records), token,
		func(ctx context.Context) (string, error) {
			restored, odd, err := lua.Restore(ctx, p.redis, lua.RestoreArgs{
				Meta: p.key("meta"), Token: p.token(token), DropKey: p.dropKey("drop", drop), Deadlines: p.key("deadlines"),
				Buyers: p.dropKey("buyers", drop), Sold: p.dropKey("sold", drop), HoldPrefix: p.dropKey("hold", drop) + ":",
				Purchases: args,
			})
			return fmt.Sprintf("%d %d", restored, odd), err
		},
		func(s *State, _ int64) string {
			restored, odd := s.Restore(drop, records)
			return fmt.Sprintf("%d %d", restored, odd)
		})
}

func (p *pair) level(token Token, drop int8) {
	r := &p.rng
	d := &p.model.Drops[drop]
	held := p.model.held(drop)
	var sold [maxSizes]int32
	args := lua.LevelArgs{
		Meta: p.key("meta"), Token: p.token(token), DropKey: p.dropKey("drop", drop), Events: p.key("events"),
		Drop: int64(drop), Floor: int64(r.n(int(d.Seq) + 4)), Force: r.one(2),
	}
	for i := range held {
		if d.Known && d.Pools[i].Total > 0 {
			if r.one(8) {
				held[i] = int32(r.n(4))
			}
			if sold[i] = uncounted; r.one(6) {
				sold[i] = int32(r.n(4))
			}
			args.Sizes = append(args.Sizes, lua.LevelSize{Size: sizeNames[i], Held: int64(held[i]), Sold: int64(sold[i])})
		}
	}
	p.same(fmt.Sprintf("level %+v drop %d floor %d force %v held %v sold %v", token, drop, args.Floor, args.Force, held, sold), token,
		func(ctx context.Context) (string, error) {
			reply, err := lua.Level(ctx, p.redis, args)
			var short [maxSizes]int32
			for i, name := range sizeNames {
				short[i] = int32(reply.Short[name])
			}
			return fmt.Sprintf("%v %v", reply.Changed, short), err
		},
		func(s *State, _ int64) string {
			changed, short, _ := s.Level(drop, int32(args.Floor), held, sold, args.Force)
			return fmt.Sprintf("%v %v", changed, short)
		})
}

// done takes an entry off the ledger.
func (p *pair) done(token Token) {
	if len(p.model.Ledger) == 0 {
		return
	}
	place, entry := -1, int64(0)
	for i, most := 0, p.rng.n(len(p.model.Ledger)); i <= most; i++ {
		if f := &p.model.Ledger[i]; f.Entry != entry {
			place, entry = place+1, f.Entry
		}
	}
	id := p.entries[place]
	p.same(fmt.Sprintf("done %+v %s", token, id), token,
		func(ctx context.Context) (string, error) {
			return "ok", lua.Done(ctx, p.redis, p.key("meta"), p.key("ledger"), p.token(token), "persist", []string{id})
		},
		func(s *State, _ int64) string {
			c := call{n: 1}
			c.hand[0].Entry = entry
			s.done(&c)
			return "ok"
		})
}
