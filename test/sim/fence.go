package sim

// Token is what a caller shows a script: the epoch it was admitted in, or a
// rebuild's claim on a server.
type Token struct {
	Epoch         int64
	Server, Claim int32
}

// passes is the fence that every changing script begins with.
func (s *State) passes(g *Guards, server int32, t Token) bool {
	if g.NoFence {
		return true
	}
	if t.Claim != 0 {
		return t.Server == server && (g.NoClaim || t.Claim == s.Meta.Claim)
	}
	return t.Epoch > 0 && t.Epoch == s.Meta.Epoch && server == s.Meta.Server
}

// Standing is what epoch.lua answers.
type Standing struct {
	Epoch    int64
	Server   int32
	Admitted bool
}

// Standing is epoch.lua.
func (s *State) Standing(server int32) Standing {
	return Standing{s.Meta.Epoch, server, s.Meta.Server == server}
}

// Claimings, as claim.lua answers.
const (
	Claimed        = 1
	ClaimedByOther = 0
	OtherServer    = -1
)

// Claim is claim.lua: the standing that the caller has seen, and its claim;
// renew holds on to one.
func (s *State) Claim(g *Guards, server int32, now int64, seen Standing, claim int32, patience int64, renew bool) int {
	if server != seen.Server {
		return OtherServer
	}
	if !renew || !g.EagerClaim {
		if renew && s.Meta.Claim != claim {
			return OtherServer
		}
		if s.Meta.Epoch != seen.Epoch && !g.StaleClaim {
			return ClaimedByOther
		}
	}
	if s.Meta.Claim != 0 && s.Meta.Claim != claim && now-s.Meta.Claimed < patience {
		return ClaimedByOther
	}
	s.Meta.Claim, s.Meta.Claimed, s.Meta.Server = claim, now, 0
	return Claimed
}

// Admit is admit.lua. False: fenced.
func (s *State) Admit(g *Guards, server int32, t Token, epoch int64) bool {
	if !s.passes(g, server, t) || (epoch <= s.Meta.Epoch && !g.NoClaim) {
		return false
	}
	s.Meta = Meta{Epoch: epoch, Server: server}
	return true
}
