package api

import (
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
)

// defaultHold is how long a unit is held where the drop does not say.
const defaultHold = time.Minute

// decodeDrop reads the body of a new drop.
func decodeDrop(body []byte) (persist.NewDrop, error) {
	d := persist.NewDrop{Hold: defaultHold}
	var cost money
	var total int64
	var hasPrice bool
	err := eachField(body, func(name string, v jsontext.Value) (err error) {
		switch name {
		case "name":
			s, err := text(name, v, maxName)
			return set(&d.Name, s, err)
		case "price":
			hasPrice = true
			m, err := price(name, v)
			return set(&cost, m, err)
		case "start_time":
			t, err := instant(name, v)
			return set(&d.Start, t, err)
		}
		if isNull(v) && optionalDropFields[name] {
			return nil
		}
		switch name {
		case "total_stock":
			total, err = integer(name, v, engine.MaxStock)
		case "end_time":
			d.End, err = instant(name, v)
		case "hold_seconds":
			d.Hold, err = seconds(name, v, engine.MinHold, engine.MaxHold)
		case "limit_per_customer":
			d.Limit, err = integer(name, v, engine.MaxStock)
		case "image_url":
			d.ImageURL, err = imageURL(name, v)
		case "sizes":
			d.Sizes, err = decodeSizes(v)
		case "challenge":
			d.Challenge, err = boolean(name, v)
		default:
			return unknownField(name)
		}
		return err
	})
	if err != nil {
		return d, err
	}
	d.PriceMinor = int64(cost)
	if err := missing([]string{"name", "price", "start_time"}, d.Name != "", hasPrice, !d.Start.IsZero()); err != nil {
		return d, err
	}
	if !d.End.IsZero() && !d.End.After(d.Start) {
		return d, &complaint{"end_time", "must be after start_time"}
	}
	return d, checkStock(&d, total)
}

// optionalDropFields may be null, which is as not given.
var optionalDropFields = map[string]bool{
	"total_stock": true, "end_time": true, "hold_seconds": true,
	"limit_per_customer": true, "image_url": true, "sizes": true, "challenge": true,
}

// checkStock brings sizes and total_stock together: one of them is enough.
func checkStock(d *persist.NewDrop, total int64) error {
	if len(d.Sizes) == 0 {
		if total == 0 {
			return &complaint{"total_stock", "is required"}
		}
		d.Sizes = []engine.SizeStock{{Stock: total}}
		return nil
	}
	var sum int64
	for _, s := range d.Sizes {
		sum += s.Stock
	}
	if total != 0 && sum != total {
		return &complaint{"sizes", fmt.Sprintf("must sum to total_stock: %d, not %d", total, sum)}
	}
	if sum > engine.MaxStock {
		return &complaint{"sizes", fmt.Sprintf("must sum to at most %d", engine.MaxStock)}
	}
	return nil
}

// decodeSizes reads [{size, stock}, …].
func decodeSizes(v jsontext.Value) ([]engine.SizeStock, error) {
	if v.Kind() != '[' {
		return nil, &complaint{"sizes", "must be an array"}
	}
	dec := jsontext.NewDecoder(strings.NewReader(string(v)))
	if _, err := dec.ReadToken(); err != nil {
		return nil, &complaint{"sizes", "must be an array"}
	}
	var sizes []engine.SizeStock
	seen := map[string]bool{}
	for dec.PeekKind() != ']' {
		item, err := dec.ReadValue()
		if err != nil {
			return nil, &complaint{"sizes", "is not valid JSON"}
		}
		if len(sizes) == engine.MaxSizes {
			return nil, &complaint{"sizes", fmt.Sprintf("must have at most %d entries", engine.MaxSizes)}
		}
		path := fmt.Sprintf("sizes[%d]", len(sizes))
		s, err := decodeSize(path, item)
		if err != nil {
			return nil, err
		}
		if seen[s.Size] {
			return nil, &complaint{path + ".size", "is given twice"}
		}
		seen[s.Size] = true
		sizes = append(sizes, s)
	}
	if len(sizes) == 0 {
		return nil, &complaint{"sizes", "must not be empty"}
	}
	return sizes, nil
}

func decodeSize(path string, item jsontext.Value) (s engine.SizeStock, err error) {
	if item.Kind() != '{' {
		return s, &complaint{path, "must be an object"}
	}
	err = eachField(item, func(name string, v jsontext.Value) error {
		switch field := path + "." + name; name {
		case "size":
			size, err := text(field, v, engine.MaxSize)
			return set(&s.Size, size, err)
		case "stock":
			n, err := integer(field, v, engine.MaxStock)
			return set(&s.Stock, n, err)
		default:
			return unknownField(field)
		}
	})
	if err != nil {
		return s, err
	}
	return s, missing([]string{path + ".size", path + ".stock"}, s.Size != "", s.Stock != 0)
}

func imageURL(field string, v jsontext.Value) (string, error) {
	s, err := text(field, v, maxImageURL)
	if err != nil {
		return "", err
	}
	for _, prefix := range []string{"https://", "http://", "/"} {
		if strings.HasPrefix(s, prefix) && len(s) > len(prefix) {
			return s, nil
		}
	}
	return "", &complaint{field, "must begin with https://, http:// or /"}
}
