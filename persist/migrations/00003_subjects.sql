-- +goose Up

-- Who is known by the sub of a token. The user's name is what the token said
-- at first sight and need not be unique: it finds nobody, unlike a guest's.
CREATE TABLE subjects (
    issuer     text        NOT NULL,
    subject    text        NOT NULL,
    user_id    bigint      NOT NULL UNIQUE REFERENCES users,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (issuer, subject)
);
ALTER TABLE users ADD COLUMN guest boolean NOT NULL DEFAULT true;
DROP INDEX users_username_without_email;
CREATE UNIQUE INDEX users_username_without_email ON users (username) WHERE email IS NULL AND guest;

-- +goose Down
DROP TABLE subjects;
UPDATE users SET username = username || '-' || id WHERE NOT guest;
DROP INDEX users_username_without_email;
ALTER TABLE users DROP COLUMN guest;
CREATE UNIQUE INDEX users_username_without_email ON users (username) WHERE email IS NULL;
