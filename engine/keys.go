package engine

import (
	"strconv"
	"strings"
)

// keys makes every key name of the engine. All keys of a partition p bear its
// hash tag (tags.go), so that each script touches one slot of a cluster:
//
//	hf:{p}:drop:<drop>        hash    state, start, end, hold, limit, version, seq, change, outcome, mark, sizes; t: a: h: s:<size>
//	hf:{p}:hold:<drop>:<seq>  string  the reservation key, with its TTL
//	hf:{p}:deadlines          zset    one member a live hold, score = deadline in ms
//	hf:{p}:buyers:<drop>      hash    user → units held and bought (only with a limit)
//	hf:{p}:sold:<drop>        hash    seq → receipt of a purchase or a cancel
//	hf:{p}:idem:<drop>        hash    Idempotency-Key → seq and what was asked
//	hf:{p}:ledger             stream  every end of a hold
//	hf:{p}:dead               stream  ledger records that could not be persisted
//	hf:{p}:events             channel stock and purchase events
//	hf:{p}:meta               hash    epoch, server; claim, claimed
//	hf:{p}:user:<user>        zset    what the person holds and has let lapse lately, score = deadline (only with such limits)
//	hf:partitions             string  how many the deployment was started with: the tags depend on it
//	hf:audit                  string  what the last audit of the deployment found
//	hf:audit:turn             string  is there until the next audit is due
type keys struct {
	prefix     string // "hf"
	partitions int
	tags       []string       // by partition
	byTag      map[string]int // partition
}

func newKeys(prefix string, partitions int) keys {
	k := keys{prefix: prefix, partitions: partitions, tags: make([]string, partitions), byTag: make(map[string]int, partitions)}
	for p := range k.tags {
		k.tags[p] = tagOf(p, partitions)
		k.byTag[k.tags[p]] = p
	}
	return k
}

// KeyPrefix is what all keys of a partition begin with, such as "hf:{3ab}:",
// in a deployment with that prefix and that many partitions: for tools that
// look at the keys themselves.
func KeyPrefix(prefix string, partitions, partition int) string {
	return prefix + ":{" + tagOf(partition, partitions) + "}:"
}

func (k keys) partition(drop int64) int { return int(drop % int64(k.partitions)) }

func (k keys) base(p int) string { return k.prefix + ":{" + k.tags[p] + "}:" }

func (k keys) ledger(p int) string    { return k.base(p) + "ledger" }
func (k keys) dead(p int) string      { return k.base(p) + "dead" }
func (k keys) deadlines(p int) string { return k.base(p) + "deadlines" }
func (k keys) events(p int) string    { return k.base(p) + "events" }
func (k keys) meta(p int) string      { return k.base(p) + "meta" }
func (k keys) count() string          { return k.prefix + ":partitions" }
func (k keys) audit() string          { return k.prefix + ":audit" }
func (k keys) auditTurn() string      { return k.prefix + ":audit:turn" }

func (k keys) drop(drop int64) string {
	return k.base(k.partition(drop)) + "drop:" + strconv.FormatInt(drop, 10)
}
func (k keys) buyers(drop int64) string {
	return k.base(k.partition(drop)) + "buyers:" + strconv.FormatInt(drop, 10)
}
func (k keys) sold(drop int64) string {
	return k.base(k.partition(drop)) + "sold:" + strconv.FormatInt(drop, 10)
}
func (k keys) idem(drop int64) string {
	return k.base(k.partition(drop)) + "idem:" + strconv.FormatInt(drop, 10)
}

// user lies in a partition by the person, whatever the drops.
func (k keys) user(user int64) string {
	return k.base(int(user%int64(k.partitions))) + "user:" + strconv.FormatInt(user, 10)
}

// holdPrefix is what the keys of the drop's holds begin with; the sequence
// number follows.
func (k keys) holdPrefix(drop int64) string {
	return k.base(k.partition(drop)) + "hold:" + strconv.FormatInt(drop, 10) + ":"
}

// partitionOf is the partition that a hold key of this deployment belongs to.
func (k keys) partitionOf(key string) (int, bool) {
	rest, ok := strings.CutPrefix(key, k.prefix+":{")
	if !ok {
		return 0, false
	}
	tag, rest, ok := strings.Cut(rest, "}:")
	if !ok || !strings.HasPrefix(rest, "hold:") {
		return 0, false
	}
	p, ok := k.byTag[tag]
	return p, ok
}
