-- end.sql: takes away what begin.sql made.
\set ECHO none
\set VERBOSITY default
RESET ROLE;
SET client_min_messages = error;
SET search_path = vf;
SELECT vf_unconfigure(discard => true) \gset
RESET search_path;
DROP SCHEMA t CASCADE;
DROP EXTENSION voiceframe_retention;
DROP SCHEMA vf, shop CASCADE;
RESET client_min_messages;
\set ECHO all
