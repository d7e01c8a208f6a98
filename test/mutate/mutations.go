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
		"settle: whose a live hold is", "lua/settle.lua",
		`if owners[i] ~= '0' and owners[i] ~= user then`, `if false then`,
		"./api", "TestReservationIsItsOwners",
	},
	{
		"settle: whose a receipt is", "lua/settle.lua",
		`if before and owners[i] ~= '0' and`, `if false and`,
		"./api", "TestReservationIsItsOwners",
	},
	{
		"look-up: whose it is", "lua/lookup.lua",
		`if owner ~= '0' and owner ~= user then return { NEVER_ISSUED, '' } end`, ``,
		"./api", "TestReservationIsItsOwners",
	},
	{
		"look-up: whose it is in the ledger", "engine/lookup.go",
		`if owner != anyone && res.User != 0 && res.User != owner {`, `if false {`,
		"./engine", "TestLapsedHoldIsItsOwners",
	},
	{
		"history: whose it is", "api/reservations.go",
		`if err == nil && owner != 0 && r.User != owner {
		return persist`, `if false {
		return persist`,
		"./api", "TestReservationIsItsOwners",
	},
	{
		"tokens: the algorithms", "api/identity/identity.go",
		`jwt.WithValidMethods(algorithms), `, ``,
		"./api/identity", "TestVerify",
	},
	{
		"tokens: they expire", "api/identity/identity.go",
		`jwt.WithExpirationRequired(), `, ``,
		"./api/identity", "TestVerify",
	},
	{
		"tokens: a key is for one algorithm", "api/identity/keys.go",
		`k.alg == alg && (id == ""`, `(id == ""`,
		"./api/identity", "TestVerify",
	},
	{
		"tokens: unknown keys do not flood", "api/identity/keys.go",
		`public == nil && due && (`, `public == nil && (due || true) && (`,
		"./api/identity", "TestUnknownKeysDoNotFlood",
	},
	{
		"access: the admin token", "api/access.go",
		`if a.isAdmin(token) {`, `if true {`,
		"./api", "TestWhoMayDoWhat",
	},
	{
		"access: calls of operators", "api/api.go",
		`a.behind(a.admin, a.administer)`, `a.administer()`,
		"./api", "TestWhoMayDoWhat",
	},
	{
		"access: the back door", "api/back.go",
		`return a.cfg.Back && !atBack(c)`, `return false`,
		"./api", "TestBackDoor",
	},
	{
		"access: the body names the token's user", "api/decode.go",
		`case caller != 0 && b.user != 0 && b.user != caller:`, `case false:`,
		"./api", "TestReserveIsForWhoeverTheTokenSays",
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
		`if m[1] and m[1] ~= claim and math.abs(now - tonumber(m[2])) < patience then return 0 end`, ``,
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
		"Postgres: never more than there is", "persist/migrations/00005_steer.sql",
		`CHECK (sold BETWEEN 0 AND total_stock + coming)`, `CHECK (sold >= 0)`,
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
		`if c.abandon(drop, m) {`, `if false {`,
		"./engine", "TestCombinerDoesNotSendWhatNobodyWaitsFor",
	},
	{
		"change: what is available", "lua/change.lua",
		`if available < 0 then wrong = wrong or NOT_ENOUGH end`, ``,
		"./engine", "TestStockIsAddedAndTakenAway",
	},
	{
		"change: decided once", "lua/change.lua",
		`if tonumber(number) == last then return reply(tonumber(d[8]), 1) end`, ``,
		"./engine", "TestChangeIsDecidedOnce",
	},
	{
		"change: not after a later one", "lua/change.lua",
		`if tonumber(number) < last then return reply(OVERTAKEN, 1) end`, ``,
		"./engine", "TestChangeIsDecidedOnce",
	},
	{
		"change: another one with its number", "lua/change.lua",
		`and d[9] ~= mark then`, `and false then`,
		"./persist", "TestPostgresLosesAChange",
	},
	{
		"change: only what was sold is there", "persist/catalogue.go",
		`max(0, min(coming, sizes[i].Sold-sizes[i].Stock))`, `coming`,
		"./persist", "TestRebuildOfARefusedChange",
	},
	{
		"webhooks: sold out by a change", "persist/outbox_change.go",
		`if len(o.urls) == 0 || unsoldBefore == 0 {`, `if true {`,
		"./persist", "TestSoldOutByAChange",
	},
	{
		"webhooks: units that are coming", "persist/ends.go",
		`s.total_stock + s.coming AS stock`, `s.total_stock AS stock`,
		"./persist", "TestSoldOutByAChange",
	},
	{
		"change: ended is final", "lua/change.lua",
		`if d[1] == 'ended' or (old_end > 0 and now >= old_end) then`, `if false then`,
		"./engine", "TestPauseResumeEnd",
	},
	{
		"change: before the start", "lua/change.lua",
		`elseif (early or starts ~= '') and now >= old_start then`, `elseif false then`,
		"./engine", "TestTimesAreMoved",
	},
	{
		"change: a limit that was not counted", "lua/change.lua",
		`elseif limit ~= '' and tonumber(d[4]) == 0 and tonumber(limit) > 0 and taken > 0 then`, `elseif false then`,
		"./engine", "TestLimitIsChanged",
	},
	{
		"fence: change", "lua/change.lua", fence, noFence,
		"./persist", "TestFencedUntilCompared",
	},
	{
		"change: units that are coming", "persist/change.go",
		`if coming <= 0 {`, `if true {`,
		"./persist", "TestChangeCutShort",
	},
	{
		"change: the epoch of the decision", "persist/change.go",
		"SELECT require_epoch($1, $2)`, partition, d.Epoch", "SELECT $1::bigint + $2::bigint`, partition, d.Epoch",
		"./persist", "TestDecisionOfAnEpochBefore",
	},
	{
		"rebuild: terms that Redis lacks", "persist/rebuild_terms.go",
		`return w.claim.Steer(ctx, unsold(d))`, `return nil`,
		"./persist", "TestRebuildKeepsChanges",
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
		"fair use: the proxies that are trusted", "api/fair/proxies.go",
		`if hops == maxHops || !p.Trust(client) {`, `if hops == maxHops {`,
		"./api/fair", "TestClient",
	},
	{
		"fair use: one bucket a network", "api/fair/proxies.go",
		`		clear(c[8:])
`, ``,
		"./api/fair", "TestOneCustomerIsOneCaller",
	},
	{
		"fair use: a refusal takes its time", "api/api.go",
		`a.app.Use(a.unhurried)`, ``,
		"./api", "TestLimitOfAnAddress",
	},
	{
		"fair use: an address's limit", "api/fair.go",
		`if err := a.cfg.Fair.Address(class, a.client(c)); err != nil {`, `if err := error(nil); err != nil {`,
		"./api", "TestLimitOfAnAddress",
	},
	{
		"fair use: a person's limit", "api/reservations.go",
		`if err := a.fairTo(fair.Reserve, user); err != nil {`, `if err := error(nil); err != nil {`,
		"./api", "TestLimitOfAPerson",
	},
	{
		"fair use: the connections of an address", "api/fair/conns.go",
		`if c.most > 0 && c.by[who] >= c.most {`, `if false {`,
		"./api/fair", "TestConnections",
	},
	{
		"fair use: holds at once", "lua/allow.lua",
		`if max_holds > 0 and #held >= max_holds then return refuse(TOO_MANY_HOLDS, held, max_holds) end`, ``,
		"./engine", "TestHoldsAtOnceOverAllDrops",
	},
	{
		"fair use: the cool-down", "lua/allow.lua",
		`if max_lapses > 0 and #lapsed >= max_lapses then return refuse(COOLING_DOWN, lapsed, max_lapses) end`, ``,
		"./engine", "TestCoolDown",
	},
	{
		"fair use: receipts before a refusal", "engine/people.go",
		`if tries > 2 || !e.forgetSettled(ctx, user, reply.Members) {`, `if tries > 2 || true {`,
		"./engine", "TestReceiptsAreLookedAtBeforeARefusal",
	},
	{
		"fair use: a call takes back its own claim alone", "engine/people.go",
		`e.note(ctx, r.User, nil, claim)`, `e.note(ctx, r.User, nil, append(earlier, claim)...)`,
		"./engine", "TestWrongRepeatLeavesTheClaimOfItsKey",
	},
	{
		"fair use: a key's claims count as one", "lua/allow.lua",
		`elseif score > now and not counted[what] then`, `elseif score > now then`,
		"./engine", "TestClaimsOfOneKeyCountAsOne",
	},
	{
		"fair use: a key's claims go with its hold", "engine/people.go",
		`append(earlier, claim)...)`, `append(earlier[:0], claim)...)`,
		"./engine", "TestWrongRepeatLeavesTheClaimOfItsKey",
	},
	{
		"fair use: a refusal names a bounded number", "lua/allow.lua",
		`for i = 1, math.min(#members, MOST) do reply[2 + i] = members[i] end
  return reply`, `return { verdict, wait, unpack(members) }`,
		"./engine", "TestRefusalOfWhoHoldsThousands",
	},
	{
		"fair use: a call that reached nobody leaves no claim", "engine/people.go",
		` || lua.NotBegun(err)`, ``,
		"./engine", "TestCallsThatReachNobodyLeaveNoClaim",
	},
	{
		"fair use: a call that was not sent leaves no claim", "engine/people.go",
		` || errors.Is(err, errNotSent)`, ``,
		"./engine", "TestCombinerDoesNotSendWhatNobodyWaitsFor",
	},
	{
		"fair use: the challenge", "lua/reserve.lua",
		`elseif challenge and ARGV[i + 3] ~= '1' then`, `elseif false then`,
		"./engine", "TestChallengeIsAskedForLast",
	},
	{
		"fair use: few challenges at once", "api/fair/challenge.go",
		`		return ErrVerifierBusy
`, `		return nil
`,
		"./api/fair", "TestVerifierIsAskedByAFewAtOnce",
	},
	{
		"webhooks: no private address", "persist/webhook/guard.go",
		`case !public(ip):`, `case false:`,
		"./persist/webhook", "TestGuard|TestAddressIsForbidden",
	},
	{
		"webhooks: what a mapped address means", "persist/webhook/guard.go",
		`ip = ip.Unmap().WithZone("")`, `ip = ip.WithZone("")`,
		"./persist/webhook", "TestGuard",
	},
	{
		"webhooks: the guard at the dialer", "persist/webhook/post.go",
		`		Control: guard{allow: s.cfg.Allow, plain: r.Plain()}.control,
`, ``,
		"./persist/webhook", "TestAddressIsForbidden",
	},
	{
		"webhooks: redirects", "persist/webhook/post.go",
		`return http.ErrUseLastResponse`, `return nil`,
		"./persist/webhook", "TestAnswersThatAreNoSuccess",
	},
	{
		"webhooks: in the transaction", "persist/ends.go",
		`	err := s.pool.SendBatch(ctx, batch).Close()
`, `	if len(sold.ids) > 0 && len(out.urls) > 0 {
		_, _ = s.pool.Exec(ctx, "INSERT INTO webhook_outbox (id, type, drop_id, reservation_id, user_id, size, occurred_at) SELECT 'purchase_' || $1::bigint, 'purchase.completed', $2::bigint, $1::bigint, $3::bigint, '', now() ON CONFLICT DO NOTHING", sold.ids[0], sold.drops[0], sold.users[0])
	}
	err := s.pool.SendBatch(ctx, batch).Close()
`,
		"./persist", "TestEventsAreInTheSameTransaction",
	},
	{
		"webhooks: of rows really inserted", "persist/outbox.go",
		`			FROM added
			UNION ALL`, `			FROM purchases WHERE id = ANY ($1::bigint[])
			UNION ALL`,
		"./persist", "TestEventsOfReplaysAreNotRepeated",
	},
	{
		"webhooks: sold out of all sizes", "persist/outbox.go",
		`				UNION ALL
				SELECT s.drop_id`, `				UNION ALL
				SELECT -s.drop_id`,
		"./persist", "TestEventsAreWrittenWithWhatTheyTellOf",
	},
	{
		"webhooks: the lease", "persist/deliveries.go",
		`SET attempts = d.attempts + 1, next_at = now() + $3 * interval '1 millisecond'`,
		`SET attempts = d.attempts + 1, next_at = now() + 0 * $3 * interval '1 millisecond'`,
		"./persist/webhook", "TestSenderDies|TestTwoSendersShareTheWork",
	},
	{
		"webhooks: late results", "persist/deliveries.go",
		`d.state = 'waiting' AND d.attempts = a.number`, `d.state = 'waiting'`,
		"./persist/webhook", "TestLateResults",
	},
	{
		"webhooks: as many as there are places", "persist/webhook/line.go",
		`free := l.cfg.Concurrency - l.flying - len(l.kept)`, `free := l.cfg.Concurrency`,
		"./persist/webhook", "TestSlowReceiverDoesNotStarveAnother",
	},
	{
		"stop: readiness off first", "cmd/holdfast/stop.go",
		`in.api.Unready()`, ``,
		"./test/integration", "TestSecondSignalEndsAtOnce",
	},
	{
		"stop: the listener before the sockets", "api/api.go",
		`	a.closeDoors(ctx)
	var hubErr error`, `	_ = a.hub.Stop(ctx)
	a.closeDoors(ctx)
	var hubErr error`,
		"./test/integration", "TestStopInOrder",
	},
	{
		"stop: what was sold is written", "cmd/holdfast/stop.go",
		`in.flush(ctx)`, ``,
		"./test/integration", "TestStopWritesWhatWasSold",
	},
	{
		"secrets: not both", "cmd/holdfast/secrets.go",
		`both && value != ""`, `both && value == "x"`,
		"./cmd/holdfast", "TestSecretsFromFiles",
	},
	{
		"TLS: the authority", "engine/tls.go",
		`config.RootCAs = x509.NewCertPool()`, `config.InsecureSkipVerify, config.RootCAs = true, x509.NewCertPool()`,
		"./test/integration", "TestTLS",
	},
	{
		"doctor: a right that is missing", "engine/rights.go",
		`strings.HasPrefix(err.Error(), "NOPERM")`, `strings.HasPrefix(err.Error(), "NOPERM x")`,
		"./engine", "TestMissingRights",
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
		"audit: its part of the time", "persist/drift_watch.go",
		`max(a.cfg.Every, auditShare*time.Since(began))`, `a.cfg.Every`,
		"./persist", "TestAnAuditThatTakesLongComesSeldom",
	},
	{
		"change: what does not add up is decided", "lua/change.lua",
		`wrong = wrong or CORRUPT`, `return redis.error_reply('HFCORRUPT ' .. drop)`,
		"./persist", "TestACorruptDropStopsNobody",
	},
	{
		"change: who comes late with a lost number", "persist/change.go",
		`if err == nil && tag.RowsAffected() == 0 {`, `if err == nil && tag.RowsAffected() < 0 {`,
		"./persist", "TestTwoGoOnWithALostNumber",
	},
	{
		"claim: of the future", "lua/claim.lua",
		`math.abs(now - tonumber(m[2])) < patience`, `now - tonumber(m[2]) < patience`,
		"./persist", "TestAClaimOfTheFuture",
	},
	{
		"reconciler: Postgres has gone back", "persist/reconciler.go",
		`behind := known && admitted && epoch > raised.Epoch`, `behind := false`,
		"./persist", "TestPostgresGoesBack",
	},
	{
		"rebuild: what is sold", "persist/rebuild.go",
		`if stock == nil || w.asked || !addsUp(stock) {`, `if stock == nil {`,
		"./persist", "TestRebuildCountsWhatIsSold",
	},
	{
		"rebuild: one drop that does not add up", "persist/rebuild.go",
		`if errors.Is(err, engine.ErrCorrupt) { // its counters do not add up: they are counted by now`, `if false {`,
		"./persist", "TestACorruptDropInAFailOver",
	},
	{
		"writer: fewer where Postgres is slow", "persist/writer_write.go",
		`most = max(1, len(part)/2)`, `most = len(part)`,
		"./persist", "TestWriterWithAPostgresTooSlowForABatch",
	},
	{
		"readyz: Redis takes writes", "api/readiness.go",
		`if refusing > 0 {`, `if false {`,
		"./api", "TestReadyzWithARedisThatTakesNoWrites",
	},
	{
		"people: not found, or lost", "engine/people.go",
		`if errors.Is(err, ErrDropNotFound) {`, `if false {`,
		"./persist", "TestFencedWithPersonalLimits",
	},
}
