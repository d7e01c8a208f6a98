package engine

import "strconv"

const (
	slots = 16384 // of a cluster, whatever its size

	// tagWindow is how far into its partition's share of the slots a tag may
	// lie: one part in so many, but tagLeast slots at the least.
	tagWindow = 16
	tagLeast  = 16
)

// tagOf is the hash tag of partition p of P: its number, and lower-case letters
// after it, the fewest and first in order that give it the slot it should have.
// The bare numbers 0 … 15 would fall 6, 6, 4 over three masters.
//
// The slots are dealt out evenly: partition p's lies just behind p/P of them.
// Since masters have even contiguous shares (and up to tagWindow masters no
// border of two shares falls between p/P and the slot, unless there are very
// many partitions), each gets as many partitions as any other, or one more.
func tagOf(p, partitions int) string {
	first := p*slots/partitions + 1 // a border is rounded up or down
	last := first + min(max(slots/partitions/tagWindow, tagLeast), slots/partitions-1) - 1
	number := strconv.Itoa(p)
	crc := crc16(0, number)
	for letters := ""; ; letters = nextLetters(letters) {
		if slot := int(crc16(crc, letters) % slots); first <= slot && slot <= last {
			return number + letters
		}
	}
}

// nextLetters counts in letters: "", a … z, aa … az, ba …
func nextLetters(s string) string {
	b := []byte(s)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] < 'z' {
			b[i]++
			return string(b)
		}
		b[i] = 'a'
	}
	return "a" + string(b)
}

// crc16 is CRC-16/XMODEM of s, after what gave crc: a key's slot is that of
// its tag, modulo the number of slots.
func crc16(crc uint16, s string) uint16 {
	for i := range len(s) {
		crc ^= uint16(s[i]) << 8
		for range 8 {
			carry := crc&0x8000 != 0
			crc <<= 1
			if carry {
				crc ^= 0x1021
			}
		}
	}
	return crc
}
