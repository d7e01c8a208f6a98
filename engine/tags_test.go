package engine

import (
	"testing"
	"time"
)

// Where masters have even contiguous shares of the slots, no master has two
// partitions more than another.
func TestPartitionsSpreadEvenly(t *testing.T) {
	t.Parallel()
	for partitions := 1; partitions <= 64; partitions++ {
		k := newKeys("hf", partitions)
		for masters := 1; masters <= min(partitions, tagWindow); masters++ {
			for _, border := range []func(int) int{ // of shares, as tools round them
				func(i int) int { return i * slots / masters },
				func(i int) int { return (2*i*slots + masters) / (2 * masters) },
				func(i int) int { return (i*slots + masters - 1) / masters },
			} {
				have := make([]int, masters)
				for _, tag := range k.tags {
					slot, m := int(crc16(0, tag)%slots), 0
					for slot >= border(m+1) {
						m++
					}
					have[m]++
				}
				for _, n := range have {
					if n < partitions/masters || n > (partitions+masters-1)/masters {
						t.Fatalf("%d partitions over %d masters: %v", partitions, masters, have)
					}
				}
			}
		}
	}
}

func TestTags(t *testing.T) {
	t.Parallel()
	if got := crc16(crc16(0, "1234"), "56789"); got != 0x31c3 { // the check value of CRC-16/XMODEM
		t.Errorf("crc %x", got)
	}
	started := time.Now()
	k := newKeys("hf", 1024)
	t.Logf("1024 tags in %v", time.Since(started))
	if len(k.byTag) != 1024 {
		t.Errorf("%d different tags of 1024", len(k.byTag))
	}
	for p, tag := range k.tags {
		if slot := int(crc16(0, tag) % slots); slot < p*slots/1024 || slot >= (p+1)*slots/1024 {
			t.Errorf("partition %d has tag %s in slot %d", p, tag, slot)
		}
		if got, ok := k.partitionOf(k.holdPrefix(int64(p)) + "1"); !ok || got != p {
			t.Errorf("the hold of partition %d belongs to %d, %t", p, got, ok)
		}
		if k.base(p) != KeyPrefix("hf", 1024, p) {
			t.Errorf("%s, %s", k.base(p), KeyPrefix("hf", 1024, p))
		}
	}
	for _, key := range []string{"hf:{}:hold:1:1", "hf:{0}:hold:1:1", "hg:{" + k.tags[0] + "}:hold:1:1", k.base(0) + "drop:1"} {
		if _, ok := k.partitionOf(key); ok {
			t.Errorf("%s is taken for a hold", key)
		}
	}
	t.Logf("%q", newKeys("hf", 16).tags)
}
