-- +goose Up

-- A drop may hold units only for who has passed a challenge.
ALTER TABLE drops ADD COLUMN challenge boolean NOT NULL DEFAULT false;
