package fault

// flavour is a kind of deployment that a campaign runs rounds on.
type flavour string

const (
	oneNode     flavour = "one node"
	everySecond flavour = "one node, appendfsync everysec"
	sentinels   flavour = "Sentinel"
	clusters    flavour = "Cluster"
)

// flavours are all of them; a seed's is its remainder by their number.
func flavours() []flavour { return []flavour{oneNode, everySecond, sentinels, clusters} }

func flavourOf(seed uint64) flavour {
	all := flavours()
	return all[seed%uint64(len(all))]
}

func (f flavour) setup(binary string) setup {
	s := setup{topology: single, instances: 3, binary: binary, fsync: "always"}
	switch f {
	case everySecond:
		s.fsync = "everysec"
	case sentinels:
		s.topology = sentinel
	case clusters:
		s.topology = cluster
	case oneNode:
	}
	return s
}
