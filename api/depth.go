package api

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// maxDepth is how deep a body may be nested: no request goes deeper than three.
const maxDepth = 16

// tooDeep is where JSON becomes deeper than maxDepth; 0: nowhere. The decoder
// would go to ten thousand, and take milliseconds to say where that was.
func tooDeep(body []byte) int {
	if bytes.Count(body, []byte("["))+bytes.Count(body, []byte("{")) <= maxDepth {
		return 0 // nearly all
	}
	depth, inString := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case c == '"':
			inString = !inString
		case inString && c == '\\':
			i++ // what it escapes ends no string
		case inString:
		case c == '[' || c == '{':
			if depth++; depth > maxDepth {
				return i
			}
		case c == ']' || c == '}':
			depth--
		}
	}
	return 0
}

// deepField names the field of an object whose text ends deep inside it.
func deepField(body []byte) string {
	dec := jsontext.NewDecoder(bytes.NewReader(body))
	object := dec.PeekKind() == '{'
	for {
		if _, err := dec.ReadToken(); err != nil {
			break
		}
	}
	if object {
		for field := range dec.StackPointer().Tokens() {
			return printable(field)
		}
	}
	return "body"
}
