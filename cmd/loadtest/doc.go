// Package loadtest is what `holdfast loadtest` does: it has many buyers come to
// a running Holdfast, measures how they are served, and judges by what they were
// told whether the drop's counters are right.
package loadtest
