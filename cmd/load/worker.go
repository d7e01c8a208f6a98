package load

import (
	"bytes"
	"context"
	"strconv"
	"time"
)

// Worker is one of a run's workers, with its connection, as a Step sees it.
type Worker struct {
	// N is the worker's number, from 0.
	N int

	ctx   context.Context // of the run
	conn  *conn
	rec   *recorder
	codes []string
	due   time.Time // when the next call should have been sent
}

// Answer is what came of a call. What it refers to is valid until the worker's
// next call.
type Answer struct {
	Outcome
	Status int // of HTTP; 0 where no answer came
	Body   []byte
	Err    error // why no answer came

	conn *conn
}

// Header is the value of a header of the answer; nil where there is none.
func (a *Answer) Header(name string) []byte {
	if a.Status == 0 {
		return nil
	}
	for key, value := range a.conn.res.Header.All() {
		if bytes.EqualFold(key, []byte(name)) {
			return value
		}
	}
	return nil
}

// Do makes a call and counts it under the call's name. header holds names and
// values in turn. The time of a step's first call runs from when the step was
// due, that of the others from when the answer before had come.
func (w *Worker) Do(call *Call, body []byte, header ...string) Answer {
	c := w.conn
	a := Answer{conn: c}
	if err := c.ready(w.ctx, time.Now()); err != nil {
		a.Outcome, a.Err = Outcome{Failed, NoConnection}, err
	} else {
		c.out = call.request(c.out[:0], body, header)
		if err := c.roundTrip(); err != nil {
			a.Outcome, a.Err = Outcome{Failed, NoAnswer}, err
		} else {
			a.Status, a.Body = c.res.StatusCode(), c.res.Body()
			a.Outcome = w.judge(&a)
		}
	}
	now := time.Now()
	c.used = now
	w.rec.record(call.name, a.Outcome, now.Sub(w.due), now)
	w.due = now
	return a
}

func (w *Worker) judge(a *Answer) Outcome {
	switch {
	case a.Status < 400:
		return Outcome{Kind: Won}
	case a.Status < 500:
		return Outcome{Refused, w.code(a)}
	default:
		return Outcome{Failed, w.code(a)}
	}
}

// code is the code of an error as a string that is allocated but once.
func (w *Worker) code(a *Answer) string {
	found := errorCode(a.Body)
	if found == nil {
		return "http_" + strconv.Itoa(a.Status)
	}
	for _, known := range w.codes {
		if string(found) == known {
			return known
		}
	}
	if len(w.codes) == maxCodes {
		return otherCode
	}
	w.codes = append(w.codes, string(found))
	return w.codes[len(w.codes)-1]
}
