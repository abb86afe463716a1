-- voiceframe.sql: the tables of a VoiceFrame database, as the application
-- makes them, with their traps:
--
--  * timestamps have no zone and hold UTC, whatever the server's TimeZone;
--    created_at, expires_at and status may be null
--  * orders.session_token is the only link to a session: nullable, no foreign
--    key
--  * ids come from the application, no column has a default that makes one
--  * file_audit_logs names keys too, but references nothing
--
-- Run with psql, in the schema that is first on the search path.
-- -v indexes=1 adds the indexes that the owner asked for.

CREATE TABLE sessions (
	id uuid PRIMARY KEY,
	session_token varchar(255) NOT NULL,
	photo_s3_key varchar(500),
	audio_s3_key varchar(500),
	waveform_s3_key varchar(500),
	photo_filename varchar(255),
	audio_filename varchar(255),
	photo_size integer,
	audio_size integer,
	custom_text text,
	photo_shape varchar(20),
	pdf_size varchar(20),
	template_id varchar(50),
	background_id varchar(255),
	font_id varchar(255),
	audio_duration double precision,
	created_at timestamp without time zone,
	expires_at timestamp without time zone,
	email varchar(255),
	unsubscribed boolean,
	data_consent boolean,
	data_consent_at timestamp without time zone,
	marketing_consent boolean,
	marketing_consent_at timestamp without time zone,
	consent_text text
);
CREATE UNIQUE INDEX ix_sessions_session_token ON sessions (session_token);
CREATE INDEX ix_sessions_email ON sessions (email);

CREATE TABLE orders (
	id uuid PRIMARY KEY,
	email varchar(255) NOT NULL,
	amount_cents integer NOT NULL,
	stripe_payment_intent_id varchar(255) UNIQUE,
	status varchar(50),
	download_token varchar(255) UNIQUE,
	download_expires_at timestamp without time zone,
	pdf_s3_key varchar(500),
	permanent_photo_s3_key varchar(500),
	permanent_audio_s3_key varchar(500),
	permanent_waveform_s3_key varchar(500),
	permanent_pdf_s3_key varchar(500),
	migration_status varchar(50),
	migration_completed_at timestamp without time zone,
	migration_error text,
	session_token varchar(255),
	created_at timestamp without time zone,
	updated_at timestamp without time zone
);
CREATE INDEX ix_orders_session_token ON orders (session_token);

CREATE TABLE email_subscribers (
	id uuid PRIMARY KEY,
	email varchar(255) NOT NULL UNIQUE,
	source varchar(50),
	is_active boolean,
	subscribed_at timestamp without time zone,
	unsubscribed_at timestamp without time zone
);

CREATE TABLE file_audit_logs (
	id uuid PRIMARY KEY,
	operation varchar(50) NOT NULL,
	source_path varchar(500),
	destination_path varchar(500),
	order_id uuid,
	session_token varchar(255),
	success boolean,
	error_message text,
	created_at timestamp without time zone
);

\if :{?indexes}
CREATE INDEX ix_sessions_created_at ON sessions (created_at);
CREATE INDEX ix_sessions_expires_at ON sessions (expires_at);
CREATE INDEX ix_orders_status ON orders (status);
\endif
