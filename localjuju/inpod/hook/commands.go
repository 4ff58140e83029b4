package hook

// Commands are the names of all hook commands; those of the last lines are Juju's, and the unit
// agent refuses them with a reason.
var Commands = []string{
	"action-fail", "action-get", "action-log", "action-set", "application-version-set",
	"close-port", "config-get", "credential-get", "goal-state", "is-leader", "juju-log",
	"juju-reboot", "network-get", "open-port", "opened-ports", "relation-get", "relation-ids",
	"relation-list", "relation-model-get", "relation-set", "resource-get", "secret-add",
	"secret-get", "secret-grant", "secret-ids", "secret-info-get", "secret-remove",
	"secret-revoke", "secret-set", "state-delete", "state-get", "state-set", "status-get",
	"status-set", "storage-add", "storage-get", "storage-list", "unit-get",
	"add-metric", "leader-get", "leader-set", "payload-register", "payload-status-set",
	"payload-unregister", "pod-spec-get", "pod-spec-set",
}
