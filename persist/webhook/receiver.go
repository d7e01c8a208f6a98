package webhook

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/holdfast/holdfast/persist"
)

// MaxReceivers is how many receivers there may be: each has connections and a
// label of its own.
const MaxReceivers = 16

// maxURL is the most bytes of a receiver's URL.
const maxURL = 2048

// Receiver is where events are sent to, and which.
type Receiver struct {
	persist.Subscription

	host string // as log and metrics name it: the rest of a URL may be secret
}

// ParseReceiver reads a receiver as it is configured: its URL, and after a # the
// events that it hears of, with + between them. Without these it hears of all.
func ParseReceiver(text string) (Receiver, error) {
	address, events, filtered := strings.Cut(text, "#")
	r := Receiver{Subscription: persist.Subscription{URL: address, Events: persist.EventTypes()}}
	if filtered {
		r.Events = strings.Split(events, "+")
	}
	u, err := url.Parse(address)
	if err != nil {
		return r, errors.New("not a URL") // the error quotes it
	}
	r.host = u.Host
	return r, r.check(true)
}

// check says what is wrong with a receiver. Without TLS it can only be where
// somebody allowed it.
func (r Receiver) check(plain bool) error {
	u, err := url.Parse(r.URL)
	switch {
	case err != nil:
		return errors.New("not a URL")
	case !utf8.ValidString(r.URL): // Postgres would refuse it, and with it what it hears of
		return errors.New("the URL must be UTF-8")
	case len(r.URL) > maxURL:
		return fmt.Errorf("%s: the URL has more than %d bytes", u.Host, maxURL)
	case u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
		return errors.New("the URL must be https://host… or http://host…")
	case u.Scheme == "http" && !plain:
		return fmt.Errorf("%s: http:// is for networks that are allowed; use https://", u.Host)
	case u.User != nil:
		return fmt.Errorf("%s: the URL must have no name and password", u.Host)
	case u.Fragment != "":
		return fmt.Errorf("%s: the URL must have no fragment", u.Host)
	}
	for i, event := range r.Events {
		if !slices.Contains(persist.EventTypes(), event) {
			return fmt.Errorf("%s: %q is none of %s", u.Host, event, strings.Join(persist.EventTypes(), ", "))
		}
		if slices.Contains(r.Events[:i], event) {
			return fmt.Errorf("%s: %s is named twice", u.Host, event)
		}
	}
	return nil
}

// CheckReceivers says what is wrong with receivers taken together, or with one of
// them where no network is allowed.
func CheckReceivers(receivers []Receiver, plain bool) error {
	if len(receivers) > MaxReceivers {
		return fmt.Errorf("webhook: %d receivers, at most %d", len(receivers), MaxReceivers)
	}
	seen := map[string]bool{}
	for _, r := range receivers {
		if err := r.check(plain); err != nil {
			return fmt.Errorf("webhook: %w", err)
		}
		if seen[r.URL] {
			return fmt.Errorf("webhook: a URL at %s is named twice; put its events into one", r.host)
		}
		seen[r.URL] = true
	}
	return nil
}

// Plain says whether the receiver is sent to without TLS.
func (r Receiver) Plain() bool { return strings.HasPrefix(r.URL, "http:") }

// Host is the receiver's host and port, without what may be secret.
func (r Receiver) Host() string { return r.host }

// Subscriptions are what a writer has to know of receivers.
func Subscriptions(receivers []Receiver) []persist.Subscription {
	all := make([]persist.Subscription, len(receivers))
	for i, r := range receivers {
		all[i] = r.Subscription
	}
	return all
}

// CheckSecret says what is wrong with a secret, without quoting it.
func CheckSecret(secret string) error {
	encoded, found := strings.CutPrefix(secret, "whsec_")
	key, err := base64.StdEncoding.DecodeString(encoded)
	if !found || err != nil || len(key) < 24 || len(key) > 64 {
		return errors.New("webhook: a secret must be whsec_ and the base64 of 24 to 64 bytes")
	}
	return nil
}
