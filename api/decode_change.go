package api

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
)

// states are the words for the states that a drop can be brought to.
var states = map[string]engine.State{
	"live": engine.StateOpen, "open": engine.StateOpen, "paused": engine.StatePaused, "ended": engine.StateEnded,
}

// decodeChange reads the body of a change: one field at least.
func decodeChange(body []byte) (c persist.Change, err error) {
	named := false
	err = eachField(body, func(name string, v jsontext.Value) error {
		named = true
		switch name {
		case "state":
			word, err := text(name, v, len("paused"))
			state, known := states[word]
			if err == nil && !known {
				err = &complaint{name, "must be live, paused or ended"}
			}
			return set(&c.State, state, err)
		case "start_time":
			t, err := instant(name, v)
			return set(&c.Start, &t, err)
		case "end_time":
			if isNull(v) {
				c.End = new(time.Time)
				return nil
			}
			t, err := instant(name, v)
			return set(&c.End, &t, err)
		case "price":
			m, err := price(name, v)
			minor := int64(m)
			return set(&c.PriceMinor, &minor, err)
		case "limit_per_customer":
			n := int64(engine.NoLimit)
			var err error
			if !isNull(v) {
				n, err = integer(name, v, engine.MaxStock)
			}
			return set(&c.Limit, &n, err)
		case "stock":
			stock, err := decodeStock(name, v)
			return set(&c.Stock, stock, err)
		}
		return unknownField(name)
	})
	switch {
	case err != nil:
		return c, err
	case !named:
		return c, &complaint{"body", "must name something to change"}
	case c.Start != nil && c.End != nil && !c.End.IsZero() && !c.End.After(*c.Start):
		return c, &complaint{"end_time", "must be after start_time"}
	}
	return c, nil
}

// decodeStock reads [{size, add}, …]; size is left out for a drop without sizes.
func decodeStock(field string, v jsontext.Value) (stock []persist.SizeAdd, err error) {
	if v.Kind() != '[' {
		return nil, &complaint{field, "must be an array"}
	}
	dec := jsontext.NewDecoder(strings.NewReader(string(v)))
	if _, err := dec.ReadToken(); err != nil {
		return nil, &complaint{field, "must be an array"}
	}
	seen := map[string]bool{}
	for dec.PeekKind() != ']' {
		item, err := dec.ReadValue()
		if err != nil {
			return nil, &complaint{field, "is not valid JSON"}
		}
		path := fmt.Sprintf("%s[%d]", field, len(stock))
		if len(stock) == engine.MaxSizes {
			return nil, &complaint{field, fmt.Sprintf("must have at most %d entries", engine.MaxSizes)}
		}
		if item.Kind() != '{' {
			return nil, &complaint{path, "must be an object"}
		}
		var add persist.SizeAdd
		err = eachField(item, func(name string, v jsontext.Value) error {
			switch field := path + "." + name; name {
			case "size":
				size, err := text(field, v, engine.MaxSize)
				return set(&add.Size, size, err)
			case "add":
				n, err := signed(field, v, engine.MaxStock)
				return set(&add.Add, n, err)
			default:
				return unknownField(field)
			}
		})
		switch {
		case err != nil:
			return nil, err
		case add.Add == 0:
			return nil, &complaint{path + ".add", "is required"}
		case seen[add.Size]:
			return nil, &complaint{path + ".size", "is given twice"}
		}
		seen[add.Size] = true
		stock = append(stock, add)
	}
	if len(stock) == 0 {
		return nil, &complaint{field, "must not be empty"}
	}
	return stock, nil
}

// signed reads an integer from -high to high, but 0.
func signed(field string, v jsontext.Value, high int64) (int64, error) {
	if v.Kind() != '0' {
		return 0, &complaint{field, "must be a number"}
	}
	n, err := strconv.ParseInt(string(v), 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange), err == nil && (n < -high || n > high || n == 0):
		return 0, &complaint{field, fmt.Sprintf("must be between -%d and %d, and not 0", high, high)}
	case err != nil:
		return 0, &complaint{field, "must be an integer"}
	}
	return n, nil
}
