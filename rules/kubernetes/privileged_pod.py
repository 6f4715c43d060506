"""A pod was started that can take over the machine it runs on."""

from margay_helpers import kubernetes_actor, kubernetes_allowed, kubernetes_context, kubernetes_object

# Parts of the system that need the host, by the name of their user.
SYSTEM_USERS = (
    "system:serviceaccount:kube-system:daemon-set-controller",
    "system:node:",
)

HOST_NAMESPACES = ("hostPID", "hostNetwork", "hostIPC")

# Mounting one of these is the same as being root on the host.
HOST_PATHS = ("/", "/etc", "/proc", "/root", "/var/run/docker.sock", "/run/containerd/containerd.sock")


def powers(event):
    """What the pod asks for beyond its own container."""
    spec = event.deep_get("requestObject", "spec", default={})
    found = [name for name in HOST_NAMESPACES if spec.get(name)]
    for container in [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]:
        if (container.get("securityContext") or {}).get("privileged"):
            found.append(f"privileged container {container.get('name', 'unnamed')}")
    for volume in spec.get("volumes") or []:
        path = (volume.get("hostPath") or {}).get("path")
        if path in HOST_PATHS:
            found.append(f"host path {path}")
    return found


def rule(event):
    if event.get("verb") != "create" or event.deep_get("objectRef", "resource") != "pods":
        return False
    if event.deep_get("objectRef", "subresource") or not kubernetes_allowed(event):
        return False
    return not kubernetes_actor(event).startswith(SYSTEM_USERS) and bool(powers(event))


def title(event):
    return f"{kubernetes_actor(event)} started a pod with power over its host: {kubernetes_object(event)}"


def dedup(event):
    return f"{kubernetes_actor(event)}:{event.deep_get('objectRef', 'namespace')}"


def alert_context(event):
    return kubernetes_context(event, powers=powers(event))
