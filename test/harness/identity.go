package harness

import "net/http"

// AdminToken is the admin token of every instance that tests start.
const AdminToken = "harness-admin-token-of-no-secrecy-at-all"

// identityEnv is what an instance needs to be told of who is who. Identity is
// open, unless a test says otherwise.
func identityEnv() []string {
	return []string{"HOLDFAST_IDENTITY=open", "HOLDFAST_ADMIN_TOKEN=" + AdminToken}
}

// AsAdmin has a request bring the admin token.
func AsAdmin(h http.Header) { h.Set("Authorization", "Bearer "+AdminToken) }
