-- +goose Up

-- How a drop stands, and the number of the newest change of its terms that was
-- decided: what a Redis that lacks it gets back.
ALTER TABLE drops
    ADD COLUMN state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'paused', 'ended')),
    ADD COLUMN change bigint NOT NULL DEFAULT 0;

-- coming: units that a change under way may have added in Redis already, so that
-- they may have been sold. The guard lets them pass.
ALTER TABLE drop_sizes
    ADD COLUMN coming bigint NOT NULL DEFAULT 0 CHECK (coming >= 0),
    DROP CONSTRAINT drop_sizes_sold_within_stock,
    ADD CONSTRAINT drop_sizes_sold_within_stock CHECK (sold BETWEEN 0 AND total_stock + coming);

-- Changes of a drop's terms: written here first, then decided in Redis, then noted
-- here. outcome is null while one is under way, of which a drop has one at most;
-- 'made', or the refusal. wanted has the stock as totals, asked is a digest of the
-- request, for its idempotency key.
CREATE TABLE drop_changes (
    drop_id    integer     NOT NULL REFERENCES drops ON DELETE CASCADE,
    number     bigint      NOT NULL,
    wanted     jsonb       NOT NULL,
    before     jsonb       NOT NULL,
    outcome    text,
    idem_key   text,
    asked      text        NOT NULL,
    who        text        NOT NULL,
    request_id text        NOT NULL,
    address    text        NOT NULL,
    begun_at   timestamptz NOT NULL DEFAULT now(),
    decided_at timestamptz,
    PRIMARY KEY (drop_id, number)
);
CREATE UNIQUE INDEX drop_changes_key ON drop_changes (drop_id, idem_key);
CREATE UNIQUE INDEX drop_changes_under_way ON drop_changes (drop_id) WHERE outcome IS NULL;

-- What operators did. after is null where it is not known what came of it.
CREATE TABLE admin_log (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now(),
    who        text        NOT NULL,
    action     text        NOT NULL,
    drop_id    integer,
    before     jsonb,
    after      jsonb,
    request_id text        NOT NULL,
    address    text        NOT NULL
);

-- +goose Down
DROP TABLE admin_log, drop_changes;
ALTER TABLE drop_sizes
    DROP CONSTRAINT drop_sizes_sold_within_stock,
    ADD CONSTRAINT drop_sizes_sold_within_stock CHECK (sold BETWEEN 0 AND total_stock),
    DROP COLUMN coming;
ALTER TABLE drops DROP COLUMN change, DROP COLUMN state;
