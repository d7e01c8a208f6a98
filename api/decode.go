package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/holdfast/holdfast/api/fair"
	"github.com/holdfast/holdfast/engine"
)

// maxSafeInteger is the greatest integer that JavaScript holds exactly.
const maxSafeInteger = 1<<53 - 1

// A complaint says which field of a request is wrong, and why.
type complaint struct{ field, problem string }

func (c *complaint) Error() string { return c.field + " " + c.problem }

// decoder is one that is used again, since a new one for each request is most of
// what reading a small body costs.
type decoder struct {
	jsontext.Decoder
	body bytes.Buffer
}

var decoders = sync.Pool{New: func() any { return new(decoder) }}

// eachField calls f for each member of the JSON object in body, in order, with
// the raw value, which is good only during the call. Anything but exactly one
// object of valid UTF-8, and a name given twice, is a complaint.
func eachField(body []byte, f func(name string, value jsontext.Value) error) error {
	if end := tooDeep(body); end > 0 {
		return &complaint{deepField(body[:end]), "is nested too deeply"}
	}
	d := decoders.Get().(*decoder) //nolint:forcetypeassert // nothing else is in the pool
	defer decoders.Put(d)
	d.body = *bytes.NewBuffer(body)
	d.Reset(&d.body)
	dec := &d.Decoder
	if dec.PeekKind() != '{' {
		if _, err := dec.ReadValue(); err != nil {
			return malformed(err)
		}
		return &complaint{"body", "must be a JSON object"}
	}
	if _, err := dec.ReadToken(); err != nil {
		return malformed(err)
	}
	for dec.PeekKind() != '}' {
		name, err := dec.ReadToken()
		if err != nil {
			return malformed(err)
		}
		field := printable(name.String())
		value, err := dec.ReadValue()
		if err != nil {
			return malformed(err)
		}
		if err := f(field, value); err != nil {
			return err
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return malformed(err)
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return &complaint{"body", "has more than one JSON value"}
	}
	return nil
}

// malformed is the complaint about JSON that cannot be read, which names the
// field where it goes wrong.
func malformed(err error) error {
	field := "body"
	if at := (*jsontext.SyntacticError)(nil); errors.As(err, &at) && at.JSONPointer != "" {
		field = fieldAt(at.JSONPointer)
	}
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return &complaint{field, "is given twice"}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &complaint{"body", "is not complete JSON"}
	}
	return &complaint{field, "is not valid JSON"}
}

// fieldAt writes a JSON pointer as the other complaints do: sizes[0].stock.
func fieldAt(p jsontext.Pointer) string {
	var path strings.Builder
	for token := range p.Tokens() {
		_, err := strconv.Atoi(token)
		switch {
		case path.Len() == 0:
			path.WriteString(token)
		case err == nil:
			path.WriteString("[" + token + "]")
		default:
			path.WriteString("." + token)
		}
	}
	return printable(path.String())
}

// printable shortens the name of a caller's field for an error message.
func printable(name string) string {
	const most = 40
	if name == "" {
		return `""`
	}
	if len(name) > most {
		name = strings.ToValidUTF8(name[:most], "") + "…"
	}
	return name
}

func unknownField(name string) error { return &complaint{name, "is not a field of this request"} }

// isNull says whether an optional field is given as null, which is as not given.
func isNull(v jsontext.Value) bool { return v.Kind() == 'n' }

// integer reads an integer from 1 to high.
func integer(field string, v jsontext.Value, high int64) (int64, error) {
	if v.Kind() != '0' {
		return 0, &complaint{field, "must be a number"}
	}
	n, err := strconv.ParseInt(string(v), 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange), err == nil && (n < 1 || n > high):
		return 0, &complaint{field, fmt.Sprintf("must be between 1 and %d", high)}
	case err != nil:
		return 0, &complaint{field, "must be an integer"}
	}
	return n, nil
}

// text reads a string of 1 to most bytes without control characters.
func text(field string, v jsontext.Value, most int) (string, error) {
	s, err := textOrEmpty(field, v, most)
	if err == nil && s == "" {
		err = &complaint{field, "must not be empty"}
	}
	return s, err
}

// textOrEmpty reads a string of at most most bytes without control characters,
// trimmed of white space.
func textOrEmpty(field string, v jsontext.Value, most int) (string, error) {
	if v.Kind() != '"' {
		return "", &complaint{field, "must be a string"}
	}
	unquoted, err := jsontext.AppendUnquote(make([]byte, 0, len(v)), v)
	if err != nil {
		return "", &complaint{field, "is not valid text"}
	}
	s := strings.TrimSpace(string(unquoted))
	switch {
	case len(s) > most:
		return "", &complaint{field, fmt.Sprintf("must have at most %d bytes", most)}
	case !utf8.ValidString(s) || strings.ContainsFunc(s, isControl):
		return "", &complaint{field, "must not contain control characters"}
	}
	return s, nil
}

func isControl(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }

// instant reads an ISO 8601 time with a zone, after the first instant of 1970,
// which as a number stands for no time.
func instant(field string, v jsontext.Value) (time.Time, error) {
	s, err := text(field, v, 40)
	if err != nil {
		return time.Time{}, err
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}, &complaint{field, "must be an ISO 8601 time with a zone, such as 2026-11-23T18:00:00Z"}
	}
	if t = t.UTC(); t.UnixMilli() <= 0 || t.Year() > 9999 {
		return time.Time{}, &complaint{field, "must be between 1970 and 9999"}
	}
	return t.Truncate(time.Millisecond), nil
}

// seconds reads a duration in seconds, in steps of a millisecond.
func seconds(field string, v jsontext.Value, low, high time.Duration) (time.Duration, error) {
	if v.Kind() != '0' {
		return 0, &complaint{field, "must be a number"}
	}
	f, err := strconv.ParseFloat(string(v), 64)
	if err != nil || f < low.Seconds() || f > high.Seconds() {
		return 0, &complaint{field, fmt.Sprintf("must be between %g and %g", low.Seconds(), high.Seconds())}
	}
	return time.Duration(f * float64(time.Second)).Round(time.Millisecond), nil
}

func price(field string, v jsontext.Value) (money, error) {
	if v.Kind() != '0' {
		return 0, &complaint{field, "must be a number"}
	}
	m, err := parseMoney(string(v))
	if err != nil {
		return 0, &complaint{field, err.Error()}
	}
	return m, nil
}

// missing complains of the first name whose value is not there.
func missing(names []string, given ...bool) error {
	for i, g := range given {
		if !g {
			return &complaint{names[i], "is required"}
		}
	}
	return nil
}

// set keeps a decoded value, so that a switch over fields stays a line each.
func set[T any](to *T, v T, err error) error {
	if err == nil {
		*to = v
	}
	return err
}

// reserveBody is the body of a reserve: a known person or a guest.
type reserveBody struct {
	drop, user      int64
	userName, email string
	size            string
	challenge       string // the token; empty for none
}

// decodeReserve reads the body of a reserve. A caller whom a token names may
// name himself once more, and nobody else.
func decodeReserve(body []byte, caller int64) (b reserveBody, err error) {
	err = eachField(body, func(name string, v jsontext.Value) error {
		switch name {
		case "dropId":
			n, err := integer(name, v, engine.MaxDropID)
			return set(&b.drop, n, err)
		case "userId":
			if isNull(v) {
				return nil
			}
			n, err := integer(name, v, maxSafeInteger)
			return set(&b.user, n, err)
		case "userName":
			return optionalText(&b.userName, name, v, maxUsername)
		case "email":
			return optionalEmail(&b.email, name, v)
		case "size":
			return optionalText(&b.size, name, v, engine.MaxSize)
		case "challenge_token":
			return optionalText(&b.challenge, name, v, fair.MaxToken)
		}
		return unknownField(name)
	})
	switch {
	case err != nil:
	case b.drop == 0:
		err = &complaint{"dropId", "is required"}
	case caller != 0 && b.userName != "":
		err = &complaint{"userName", "must not be given: the token says who reserves"}
	case caller != 0 && b.email != "":
		err = &complaint{"email", "must not be given: the token says who reserves"}
	case caller != 0 && b.user != 0 && b.user != caller:
		err = errUserMismatch
	case caller != 0:
	case b.user == 0 && b.userName == "" && b.email == "":
		err = &complaint{"userId", "is required, or userName for a guest"}
	case b.user == 0 && b.userName == "":
		err = &complaint{"userName", "is required with email"}
	case b.user != 0 && b.userName != "":
		err = &complaint{"userName", "must not be given together with userId"}
	case b.user != 0 && b.email != "":
		err = &complaint{"email", "must not be given together with userId"}
	}
	return b, err
}

// optionalText reads a text that null and blank ones leave out: forms send every
// field, filled in or not.
func optionalText(to *string, field string, v jsontext.Value, most int) error {
	if isNull(v) {
		return nil
	}
	s, err := textOrEmpty(field, v, most)
	return set(to, s, err)
}

func optionalEmail(to *string, field string, v jsontext.Value) error {
	if err := optionalText(to, field, v, maxEmail); err != nil {
		return err
	}
	// Only what tells an address from a mistake: mail servers know the rest.
	at := strings.LastIndexByte(*to, '@')
	if *to != "" && (at < 1 || at == len(*to)-1 || strings.ContainsAny(*to, " \t")) {
		return &complaint{field, "must be an email address"}
	}
	return nil
}

// decodeReservationID reads the body of a purchase or a cancel.
func decodeReservationID(body []byte) (id int64, err error) {
	err = eachField(body, func(name string, v jsontext.Value) error {
		if name != "reservationId" {
			return unknownField(name)
		}
		n, err := integer(name, v, maxSafeInteger)
		return set(&id, n, err)
	})
	if err == nil && id == 0 {
		err = &complaint{"reservationId", "is required"}
	}
	return id, err
}

const (
	maxUsername = 64
	maxEmail    = 254
	maxName     = 200
	maxImageURL = 2048
)

// userBody is the body of a new user.
type userBody struct{ username, email string }

func decodeUser(body []byte) (b userBody, err error) {
	err = eachField(body, func(name string, v jsontext.Value) error {
		switch name {
		case "username":
			s, err := text(name, v, maxUsername)
			return set(&b.username, s, err)
		case "email":
			return optionalEmail(&b.email, name, v)
		}
		return unknownField(name)
	})
	if err == nil && b.username == "" {
		err = &complaint{"username", "is required"}
	}
	return b, err
}
