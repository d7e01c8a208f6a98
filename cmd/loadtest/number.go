package loadtest

import "bytes"

// number is the first integer of that name in JSON as the API writes it, without
// blanks; name is quoted and ends in a colon. It is for what is read by the ten
// thousand a second, where decoding would take the machine from the server.
func number(json []byte, name string) (n int64, found bool) {
	at := bytes.Index(json, []byte(name))
	if at < 0 {
		return 0, false
	}
	for _, c := range json[at+len(name):] {
		if c < '0' || c > '9' {
			break
		}
		n, found = 10*n+int64(c-'0'), true
	}
	return n, found
}

// Names of numbers.
const (
	nameID        = `"id":`
	nameUser      = `"UserId":`
	nameDrop      = `"DropId":`
	nameTotal     = `"total_stock":`
	nameAvailable = `"available_stock":`
	nameHeld      = `"held":`
	nameSold      = `"sold":`
	nameVersion   = `"version":`
)

// countsIn reads a drop's own counters, which are written before those of its
// sizes.
func countsIn(json []byte) (c counts, total int64, found bool) {
	for _, f := range []struct {
		name string
		into *int64
	}{{nameTotal, &total}, {nameAvailable, &c.Available}, {nameHeld, &c.Held}, {nameSold, &c.Sold}} {
		if *f.into, found = number(json, f.name); !found {
			return c, total, false
		}
	}
	return c, total, true
}
