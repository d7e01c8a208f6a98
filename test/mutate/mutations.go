package main

// mutation takes one guard away.
type mutation struct {
	name          string
	file          string
	find, replace string // find stands in the file exactly once
	pkg, tests    string // which should notice
}

const (
	fence      = `if not (token == m[1] and server == m[2]) and token ~= server .. ':' .. (m[3] or '') then`
	fenceOfOld = `if token ~= m[1] and not string.find(token, ':') then` // the epoch alone, on whatever server
	noFence    = `if false then`
)

var mutations = []mutation{
	{
		"release: taking the member away", "lua/release.lua",
		`redis.call('ZREMRANGEBYRANK', deadlines, 0, #due - 1)`, ``,
		"./engine", "TestAnotherExpirerTakesOver|TestLookupOfLapsedHold|TestEventTellsHowLateHoldsCameBack",
	},
	{
		"release: only what is held", "lua/release.lua",
		`if pool and pool[2] > 0 then`, `if pool then`,
		"./engine", "TestLapsedHoldThatFitsNothingIsKeptApart",
	},
	{
		"purchase: the receipt", "lua/settle.lua",
		`redis.call('HSET', sold, unpack(receipts_new))`, ``,
		"./engine", "TestReserveAndPurchase",
	},
	{
		"reserve: the idempotency record", "lua/reserve.lua",
		`if #idems > 0 then redis.call('HSET', idem, unpack(idems)) end`, ``,
		"./engine", "TestIdempotencyKey",
	},
	{
		"reserve: the limit", "lua/reserve.lua",
		`elseif limit > 0 and taken[user] >= limit then`, `elseif false then`,
		"./engine", "TestRefusals",
	},
	{
		"reserve: the stock", "lua/reserve.lua",
		`elseif pool[1] <= 0 then`, `elseif false then`,
		"./engine", "TestRefusals|TestStormNeverOversells",
	},
	{
		"reserve: the ledger's limit", "lua/reserve.lua",
		`elseif redis.call('XLEN', ledger) >= max_ledger then closed = OVERLOADED end`, `end`,
		"./engine", "TestLongLedger",
	},
	{
		"fence: reserve", "lua/reserve.lua", fence, noFence,
		"./persist", "TestFencedUntilCompared",
	},
	{
		"fence: purchase and cancel", "lua/settle.lua", fence, noFence,
		"./persist", "TestFencedUntilCompared",
	},
	{
		"fence: release", "lua/release.lua", fence, noFence,
		"./persist", "TestFencedUntilCompared",
	},
	{
		"fence: open", "lua/open.lua", fence, noFence,
		"./persist", "TestFencedUntilCompared",
	},
	{
		"fence: done", "lua/done.lua", fence, noFence,
		"./persist", "TestDoneOfAnEpochBefore",
	},
	{
		"fence: the server, not the epoch alone", "lua/reserve.lua", fence, fenceOfOld,
		"./persist", "TestFencedUntilCompared",
	},
	{
		"rebuild: the claim", "lua/level.lua", fence, noFence,
		"./persist", "TestRebuildTakenOver",
	},
	{
		"rebuild: a claim that is gone", "lua/claim.lua",
		`if renew and m[1] ~= claim then return -1 end`, ``,
		"./persist", "TestRebuildLosesItsClaim",
	},
	{
		"rebuild: restore's claim", "lua/restore.lua", fence, noFence,
		"./persist", "TestRebuildLosesItsClaim",
	},
	{
		"rebuild: admit's claim", "lua/admit.lua",
		`if token ~= server .. ':' .. (m[2] or '') or tonumber(epoch) <= tonumber(m[1] or 0) then`, noFence,
		"./persist", "TestRebuildTakenOver",
	},
	{
		"rebuild: one at a time", "lua/claim.lua",
		`if m[1] and m[1] ~= claim and now - tonumber(m[2]) < patience then return 0 end`, ``,
		"./persist", "TestRebuildTakenOver",
	},
	{
		"rebuild: only as it was seen", "lua/claim.lua",
		`if (m[3] or '0') ~= seen then return 0 end`, ``,
		"./persist", "TestRebuildTakenOver",
	},
	{
		"rebuild: holding on", "persist/rebuild.go",
		`if err := w.claim.Hold(held); err != nil {`, `if err := error(nil); err != nil {`,
		"./persist", "TestRebuildWithASlowPostgres",
	},
	{
		"rebuild: an epoch that is being served", "persist/reconciler.go",
		`orphaned := admitted && raised.Orphaned &&`, `orphaned := admitted &&`,
		"./persist", "TestWriterOfAnEpochRaised",
	},
	{
		"rebuild: a Redis that was replaced", "persist/reconciler.go",
		`	r.cfg.Engine.NotBefore(p, raised.Admitted)`, ``,
		"./persist", "TestSupersededRedis",
	},
	{
		"rebuild: purchases acknowledged", "engine/settle.go",
		`				e.acks.keep(p, m.res)`, ``,
		"./persist", "TestRebuildOfLostData",
	},
	{
		"rebuild: ids above all before", "persist/epochs.go",
		`SET seq_floor = greatest(seq_floor, $2::bigint) + $3::bigint`, `SET seq_floor = $2::bigint + 0 * $3::bigint`,
		"./persist", "TestIdsNeverRepeat",
	},
	{
		"rebuild: holds acknowledged", "engine/reserve.go",
		"			}\n			e.acks.keep(p, m.res)\n", "			}\n",
		"./persist", "TestRebuildOfLostData",
	},
	{
		"writer: ON CONFLICT", "persist/ends.go",
		"				ORDER BY e.id\n				ON CONFLICT (id) DO NOTHING", "				ORDER BY e.id",
		"./persist", "TestWriterCountsReplaysOnce|TestWriterRepeatsACommitWhoseReplyWasLost",
	},
	{
		"writer: acknowledged after the commit", "persist/writer_follow.go",
		"	// An entry may hold many records, so entries can exceed a batch.\n",
		"	if err := w.cfg.Ledger.Done(w.ctx, partition, epoch, ids); err != nil {\n		return err\n	}\n",
		"./persist", "TestWriterStopsWhilePostgresIsAway",
	},
	{
		"writer: its epoch", "persist/migrations/00002_epochs.sql",
		`WHERE partition = p AND epoch = e FOR SHARE`, `WHERE partition = p FOR SHARE`,
		"./persist", "TestWriterOfAnEpochRaised",
	},
	{
		"writer: only what its server has", "lua/confirm.lua",
		`local here = found[1] and ARGV[i + 1] == '' and 1 or 0`, `local here = 1`,
		"./persist", "TestWriterOfAnEpochBefore",
	},
	{
		"Postgres: never more than there is", "persist/migrations/00001_schema.sql",
		`CONSTRAINT drop_sizes_sold_within_stock CHECK (sold BETWEEN 0 AND total_stock)`,
		`CONSTRAINT drop_sizes_sold_within_stock CHECK (sold >= 0)`,
		"./persist", "TestWriterRefusesToOversell",
	},
	{
		"early refusal: on fresh news alone", "engine/outlook.go",
		`case now.Sub(v.asOf) <= maxAge, v.asOf.After(came): // the latter is as good as asking`, `case true:`,
		"./engine", "TestSoldOutIsAskedForTenTimesASecond",
	},
	{
		"early refusal: not past the start", "engine/outlook.go",
		`case !v.until.IsZero() && !now.Before(v.until):`, `case false:`,
		"./engine", "TestStartIsNotMissed",
	},
	{
		"early refusal: not of a key", "engine/reserve.go",
		`if r.Key == "" { // one with a key may have its hold already, which Redis alone knows`, `if true {`,
		"./engine", "TestKeyIsNeverRefusedEarly",
	},
	{
		"early refusal: a unit that came back", "engine/outlook.go",
		`		case e.Sizes[i].Available > 0:
			v.open(e.Version)
`, ``,
		"./engine", "TestUnitThatComesBackIsSoldAtOnce",
	},
	{
		"combiner: what nobody waits for", "engine/combiner.go",
		`		c.abandon(drop, m)
`, ``,
		"./engine", "TestCombinerDoesNotSendWhatNobodyWaitsFor",
	},
	{
		"reads: what was acknowledged", "api/changes.go",
		`c.stock[slot(drop)] = c.own`, ``,
		"./api", "TestWhoChangesADropSeesIt",
	},
	{
		"reads: a reading that began before", "api/shelf.go",
		`case f.as.own == s.changes.own && now.Sub(f.began) < keep:`, `case true:`,
		"./api", "TestWhoChangesADropSeesIt",
	},
	{
		"reads: the age without events", "api/changes.go",
		`return s.stockAt.Add(keep)`, `return s.stockAt.Add(time.Hour)`,
		"./api", "TestChangesElsewhereAreShownWithoutTheFeed|TestRedisGoneIsShown",
	},
	{
		"metrics: labels that callers make up", "api/metrics.go",
		`if status == fiber.StatusNotFound && route == "/" || status == fiber.StatusMethodNotAllowed {`, `if status == 0 {`,
		"./api", "TestMetrics",
	},
	{
		"request ids: only those that are well formed", "api/request_id.go",
		`if len(id) == 0 || len(id) > maxRequestID {`, `if len(id) == 0 {`,
		"./api", "TestEveryAnswerBearsARequestID",
	},
	{
		"audit: one instance at a time", "engine/audits.go",
		`redis.SetArgs{Mode: "NX", TTL: lease}`, `redis.SetArgs{TTL: lease}`,
		"./persist", "TestAuditorsTakeTurnsAndTellTheSame",
	},
	{
		"audit: its part of the time", "persist/auditor.go",
		`max(a.cfg.Every, auditShare*time.Since(began))`, `a.cfg.Every`,
		"./persist", "TestAnAuditThatTakesLongComesSeldom",
	},
}
