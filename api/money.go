package api

import (
	"errors"
	"strconv"
	"strings"
)

// money is an amount in minor units. In JSON it is a number of major units,
// with as many decimals as it needs: 18000 is 180, 17950 is 179.5.
type money int64

const (
	minorUnits = 100
	maxMoney   = 1_000_000_000 * minorUnits
)

// MarshalJSON writes the amount in major units.
func (m money) MarshalJSON() ([]byte, error) {
	text := strconv.FormatInt(int64(m)/minorUnits, 10)
	if cents := int64(m) % minorUnits; cents != 0 {
		text += "." + strings.TrimRight(strconv.FormatInt(minorUnits+cents, 10)[1:], "0")
	}
	return []byte(text), nil
}

var (
	errMoneyForm  = errors.New("must be a number with at most two decimals")
	errMoneyRange = errors.New("must be between 0 and 1000000000")
)

// parseMoney reads a JSON number exactly, without going through a float: 180,
// 180.00 and 1.8e2 are refused or taken by their digits, never rounded.
func parseMoney(text string) (money, error) {
	if strings.HasPrefix(text, "-") {
		return 0, errMoneyRange
	}
	whole, cents, _ := strings.Cut(text, ".")
	cents = strings.TrimRight(cents, "0")
	if len(cents) > 2 || strings.ContainsAny(text, "eE") {
		return 0, errMoneyForm
	}
	if len(whole) > 10 {
		return 0, errMoneyRange
	}
	n, err := strconv.ParseInt(whole+cents+"00"[len(cents):], 10, 64)
	if err != nil {
		return 0, errMoneyForm
	}
	if n > maxMoney {
		return 0, errMoneyRange
	}
	return money(n), nil
}
