package load

import "bytes"

// Kind is what an answer means to its caller.
type Kind uint8

// The kinds of outcomes.
const (
	Won     Kind = iota // done: 1xx, 2xx, 3xx
	Refused             // decided against: 4xx
	Failed              // undecided: 5xx, or no answer; it may have been done all the same
)

// String names the kind.
func (k Kind) String() string {
	switch k {
	case Won:
		return "won"
	case Refused:
		return "refused"
	default:
		return "failed"
	}
}

// Outcome is what came of a call, or of a whole step. Code says which of its
// kind: the API's code of an error, "http_502" where there is none, "no_answer",
// "no_connection", or whatever a step gives; mostly empty for Won.
type Outcome struct {
	Kind Kind
	Code string
}

// Codes that are the driver's own.
const (
	NoConnection = "no_connection" // nothing was sent
	NoAnswer     = "no_answer"     // sent, and the connection broke or the time ran out
	otherCode    = "other"         // beyond maxCodes
)

const maxCodes = 64 // that one worker knows; what comes beyond is "other"

// errorCode is the value of "code" in the body of an error.
func errorCode(body []byte) []byte {
	const before, longest = `"code":"`, 64
	at := bytes.Index(body, []byte(before))
	if at < 0 {
		return nil
	}
	code := body[at+len(before):]
	end := bytes.IndexByte(code[:min(len(code), longest)], '"')
	if end < 0 {
		return nil
	}
	return code[:end]
}
