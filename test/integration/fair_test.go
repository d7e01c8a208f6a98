package integration

import "testing"

// Fair use is on in serve unless somebody says otherwise, and both are told.
func TestFairUseIsOnUnlessSaid(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	for flag, want := range map[string]string{"--fair-use=": "on", "--fair-use=off": "off"} {
		p := d.serve(t, flag)
		contains(t, p.Log(), "fair_use="+want)
		a := newShop(t, p).call("GET", "/readyz", nil, nil)
		contains(t, string(a.body), `"fair_use":"`+want+`"`)
	}
}
