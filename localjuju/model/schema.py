"""The tables. JSON columns hold maps whose keys are the charm's or the user's own."""

VERSION = 1

SCHEMA = """
CREATE TABLE models (
  name TEXT PRIMARY KEY, uuid TEXT NOT NULL, life TEXT NOT NULL, config TEXT NOT NULL,
  constraints TEXT NOT NULL, created TEXT NOT NULL, next_relation INTEGER NOT NULL DEFAULT 0,
  next_task INTEGER NOT NULL DEFAULT 1, next_storage TEXT NOT NULL DEFAULT '{}',
  charm_revisions TEXT NOT NULL DEFAULT '{}', destroy_storage INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE charms (
  sha256 TEXT PRIMARY KEY, name TEXT NOT NULL, metadata TEXT NOT NULL, config TEXT NOT NULL,
  actions TEXT NOT NULL, manifest TEXT NOT NULL
);
CREATE TABLE applications (
  model TEXT NOT NULL REFERENCES models(name), name TEXT NOT NULL,
  charm TEXT NOT NULL REFERENCES charms(sha256), charm_rev INTEGER NOT NULL,
  life TEXT NOT NULL, trust INTEGER NOT NULL, next_unit INTEGER NOT NULL,
  config TEXT NOT NULL, resources TEXT NOT NULL, storage TEXT NOT NULL,
  constraints TEXT NOT NULL, modified INTEGER NOT NULL, leader TEXT,
  status TEXT NOT NULL, message TEXT NOT NULL, status_data TEXT NOT NULL, since TEXT NOT NULL,
  version TEXT NOT NULL DEFAULT '', destroy_storage INTEGER NOT NULL DEFAULT 0,
  force_at TEXT,
  PRIMARY KEY (model, name)
);
CREATE TABLE units (
  model TEXT NOT NULL, name TEXT NOT NULL, application TEXT NOT NULL, number INTEGER NOT NULL,
  life TEXT NOT NULL,
  status TEXT NOT NULL, message TEXT NOT NULL, status_data TEXT NOT NULL, since TEXT NOT NULL,
  agent_status TEXT NOT NULL, agent_message TEXT NOT NULL, agent_data TEXT NOT NULL,
  agent_since TEXT NOT NULL,
  ports TEXT NOT NULL DEFAULT '[]', state TEXT NOT NULL DEFAULT '{}',
  agent TEXT NOT NULL DEFAULT '{}',
  PRIMARY KEY (model, name),
  FOREIGN KEY (model, application) REFERENCES applications(model, name)
);
CREATE TABLE relations (
  model TEXT NOT NULL, id INTEGER NOT NULL, life TEXT NOT NULL, interface TEXT NOT NULL,
  scope TEXT NOT NULL, peer INTEGER NOT NULL,
  provider TEXT NOT NULL, provider_endpoint TEXT NOT NULL,
  requirer TEXT NOT NULL, requirer_endpoint TEXT NOT NULL,
  PRIMARY KEY (model, id)
);
CREATE TABLE unit_databags (
  model TEXT NOT NULL, relation INTEGER NOT NULL, unit TEXT NOT NULL, data TEXT NOT NULL,
  version INTEGER NOT NULL, in_scope INTEGER NOT NULL,
  PRIMARY KEY (model, relation, unit),
  FOREIGN KEY (model, relation) REFERENCES relations(model, id) ON DELETE CASCADE
);
CREATE TABLE application_databags (
  model TEXT NOT NULL, relation INTEGER NOT NULL, application TEXT NOT NULL,
  data TEXT NOT NULL, version INTEGER NOT NULL,
  PRIMARY KEY (model, relation, application),
  FOREIGN KEY (model, relation) REFERENCES relations(model, id) ON DELETE CASCADE
);
CREATE TABLE storage (
  model TEXT NOT NULL, id TEXT NOT NULL, name TEXT NOT NULL, unit TEXT NOT NULL,
  life TEXT NOT NULL, attached INTEGER NOT NULL, kind TEXT NOT NULL, location TEXT NOT NULL,
  size_mib INTEGER NOT NULL, since TEXT NOT NULL,
  PRIMARY KEY (model, id)
);
CREATE TABLE secrets (
  id TEXT PRIMARY KEY, model TEXT NOT NULL, owner_kind TEXT NOT NULL, owner TEXT NOT NULL,
  label TEXT, description TEXT NOT NULL, rotate TEXT NOT NULL, next_rotate TEXT,
  latest INTEGER NOT NULL, auto_prune INTEGER NOT NULL DEFAULT 0,
  created TEXT NOT NULL, updated TEXT NOT NULL
);
CREATE TABLE secret_revisions (
  secret TEXT NOT NULL REFERENCES secrets(id) ON DELETE CASCADE, revision INTEGER NOT NULL,
  content TEXT NOT NULL, created TEXT NOT NULL, expire TEXT,
  expired_told INTEGER NOT NULL DEFAULT 0, obsolete INTEGER NOT NULL DEFAULT 0,
  remove_told INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (secret, revision)
);
CREATE TABLE secret_grants (
  secret TEXT NOT NULL REFERENCES secrets(id) ON DELETE CASCADE, target TEXT NOT NULL,
  relation INTEGER, PRIMARY KEY (secret, target)
);
CREATE TABLE secret_consumers (
  secret TEXT NOT NULL REFERENCES secrets(id) ON DELETE CASCADE, unit TEXT NOT NULL,
  label TEXT, revision INTEGER NOT NULL, told INTEGER NOT NULL,
  PRIMARY KEY (secret, unit)
);
CREATE TABLE tasks (
  model TEXT NOT NULL, id INTEGER NOT NULL, operation INTEGER NOT NULL, unit TEXT NOT NULL,
  name TEXT NOT NULL, parameters TEXT NOT NULL, status TEXT NOT NULL,
  message TEXT NOT NULL DEFAULT '', results TEXT NOT NULL DEFAULT '{}',
  log TEXT NOT NULL DEFAULT '[]', enqueued TEXT NOT NULL, started TEXT, completed TEXT,
  PRIMARY KEY (model, id)
);
CREATE TABLE status_history (
  id INTEGER PRIMARY KEY, model TEXT NOT NULL, entity TEXT NOT NULL, kind TEXT NOT NULL,
  status TEXT NOT NULL, message TEXT NOT NULL, since TEXT NOT NULL
);
CREATE INDEX status_history_entity ON status_history (model, entity);
CREATE INDEX tasks_unit ON tasks (model, unit, status);
"""

# Made on opening where it is missing: older databases of this version have it not.
ADDED = """
CREATE TABLE IF NOT EXISTS clock (seconds REAL NOT NULL);
CREATE TABLE IF NOT EXISTS charm_files (sha256 TEXT PRIMARY KEY, path TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS detached (
  model TEXT NOT NULL, id TEXT NOT NULL, application TEXT NOT NULL, claim TEXT NOT NULL,
  pool TEXT NOT NULL, PRIMARY KEY (model, id)
);
CREATE TABLE IF NOT EXISTS pools (
  model TEXT NOT NULL, name TEXT NOT NULL, attributes TEXT NOT NULL, PRIMARY KEY (model, name)
);
CREATE TABLE IF NOT EXISTS offers (
  model TEXT NOT NULL, name TEXT NOT NULL, application TEXT NOT NULL, endpoints TEXT NOT NULL,
  PRIMARY KEY (model, name)
);
CREATE TABLE IF NOT EXISTS saas (
  model TEXT NOT NULL, name TEXT NOT NULL, offer_model TEXT NOT NULL, offer TEXT NOT NULL,
  life TEXT NOT NULL, PRIMARY KEY (model, name)
);
CREATE TABLE IF NOT EXISTS relation_links (
  model TEXT NOT NULL, relation INTEGER NOT NULL, remote TEXT NOT NULL, offer TEXT,
  other_model TEXT NOT NULL, other_relation INTEGER NOT NULL, other_application TEXT NOT NULL,
  PRIMARY KEY (model, relation),
  FOREIGN KEY (model, relation) REFERENCES relations(model, id) ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS units_application ON units (model, application);
CREATE INDEX IF NOT EXISTS relations_provider ON relations (model, provider);
CREATE INDEX IF NOT EXISTS relations_requirer ON relations (model, requirer);
CREATE INDEX IF NOT EXISTS storage_unit ON storage (model, unit);
CREATE INDEX IF NOT EXISTS secrets_owner ON secrets (model, owner);
CREATE INDEX IF NOT EXISTS secret_consumers_unit ON secret_consumers (unit);
CREATE INDEX IF NOT EXISTS relation_links_remote ON relation_links (model, remote);
CREATE INDEX IF NOT EXISTS relation_links_other
  ON relation_links (other_model, other_application);
"""
