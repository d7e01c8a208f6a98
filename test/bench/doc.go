// Package bench measures Holdfast against what it stands on, side by side in
// one run: these figures depend on the machine, their ratios much less.
package bench
