"""The real node: containerd, kubelet, kube-proxy and CoreDNS on this very machine.

Everything of theirs lies in the instance's folder, so that they never meet a system containerd.
What they change outside of it is written in cleanup.py, which puts it back.
"""

from __future__ import annotations

import json
import os
import time
import tomllib
from pathlib import Path

import archive
import cleanup
import controlplane
import preflight
import programs
from common import Problem, report, run, seconds, wait_until
from instance import NODE_ADDRESS, NODE_NAME, PODS, SERVICES, Instance
from processes import Component, start, wait_healthy

COMPONENTS = ("containerd", "kubelet", "kube-proxy", "coredns")
ADDRESS_LINK = "dask0"  # carries the node's address
POD_LINK = "cni0"  # the bridge that the pods hang on
NETWORK = "dask-gitops"
NODE_PODS = "10.244.0.0/24"
CGROUP = "dask-gitops"
PAUSE = "localhost/pause:1"


def prepare(instance: Instance) -> None:
    """Note how the machine is now, then make the node's address: the API server listens there."""
    started = time.monotonic()
    for link in (ADDRESS_LINK, POD_LINK):
        if Path(f"/sys/class/net/{link}").exists():
            raise Problem(
                f"network interface {link} exists and is not ours: another Kubernetes node on "
                f"this machine? If it is a leftover: ip link delete {link}"
            )
    cleanup.remember(instance.folder)
    run(["ip", "link", "add", ADDRESS_LINK, "type", "bridge"])
    run(["ip", "link", "set", ADDRESS_LINK, "alias", instance.folder.resolve()])
    run(["ip", "address", "add", f"{NODE_ADDRESS}/32", "dev", ADDRESS_LINK])
    run(["ip", "link", "set", ADDRESS_LINK, "up"])
    cleanup.set_kernel("net.ipv4.ip_forward", "1")
    cleanup.set_kernel("net.bridge.bridge-nf-call-iptables", "1")
    accept_pod_traffic()
    make_cgroups()
    report("node address, network", f"{NODE_ADDRESS} in {seconds(started)}")


def owner() -> Path | None:
    """The folder of the instance, alive or dead, whose network this machine has; None where nobody
    tells, or what is told is no instance: its folder may be removed, and others have aliases, too."""
    try:
        told = Path(f"/sys/class/net/{ADDRESS_LINK}/ifalias").read_text().strip()
    except OSError:
        return None
    folder = Path(told)
    return folder if folder.is_absolute() and (folder / "instance.json").is_file() else None


def accept_pod_traffic() -> None:
    """Docker sets the machine to drop what it forwards; pods talk to each other all the same.

    What goes to a Service that kube-proxy does not know yet would leave the machine, and whoever answers there answers.
    """
    rules = ["*filter", ":CNI-DASK-GITOPS - [0:0]", "-I FORWARD -j CNI-DASK-GITOPS"]
    rules += [f"-A CNI-DASK-GITOPS -d {SERVICES} -j REJECT"]
    rules += [f"-A CNI-DASK-GITOPS {way} {POD_LINK} -j ACCEPT" for way in ("-i", "-o")]
    run(["iptables-restore", "--noflush"], stdin="\n".join([*rules, "COMMIT", ""]))


def make_cgroups() -> None:
    """All pods live below one group of ours, so that none can be missed when cleaning."""
    top = Path("/sys/fs/cgroup")
    if (top / "cgroup.controllers").exists():
        (top / CGROUP).mkdir(exist_ok=True)
        wanted = {"cpu", "cpuset", "memory", "pids", "io", "hugetlb"}
        for controller in wanted & set((top / "cgroup.controllers").read_text().split()):
            (top / "cgroup.subtree_control").write_text(f"+{controller}")
            (top / CGROUP / "cgroup.subtree_control").write_text(f"+{controller}")
        return
    for hierarchy in cleanup.cgroup_hierarchies():
        (hierarchy / CGROUP).mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):
            if (hierarchy / setting).exists():
                (hierarchy / CGROUP / setting).write_text((hierarchy / setting).read_text())


def runtime(instance: Instance) -> None:
    """Start containerd: it needs no program that is built, and can take images from now on."""
    started = time.monotonic()
    configure(instance)
    begin(instance, containerd(instance), env=dict(os.environ))
    wait_until("containerd answers", lambda: answers(instance), 20)
    report("containerd", f"ready in {seconds(started)}")


def up(instance: Instance) -> None:
    """Start the rest of the node and wait until it is Ready."""
    archive.pause(instance.folder / "pause.tar", PAUSE, programs.path("pause"))
    import_image(instance, instance.folder / "pause.tar")
    started = time.monotonic()
    rest = (kubelet(instance), kube_proxy(instance), coredns(instance))
    begin(instance, *rest)
    report("kubelet kube-proxy coredns", f"ready in {seconds(started)}")
    started = time.monotonic()
    wait_until(f"node {NODE_NAME} is Ready", lambda: is_ready(instance), 60)
    report(f"node {NODE_NAME}", f"Ready in {seconds(started)}")


def begin(instance: Instance, *components: Component, env: dict[str, str] | None = None) -> None:
    """Start components and wait until they are well."""
    for component in components:
        start(instance.folder, component, env or controlplane.quiet_environment())
    wait_healthy(instance.folder, components)


def is_ready(instance: Instance) -> bool:
    """Does the API server call the node Ready?"""
    query = '{.status.conditions[?(@.type=="Ready")].status}'
    command = ["get", "node", NODE_NAME, "--ignore-not-found", "-o", f"jsonpath={query}"]
    return controlplane.kubectl(instance, *command) == "True"


def socket(folder: Path) -> Path:
    """containerd's socket; its shims carry this path in their command lines."""
    return folder / "containerd.sock"


def ctr(instance: Instance, *words: str | Path) -> str:
    """Ask our containerd something, about the images and containers of Kubernetes."""
    address = ["--address", socket(instance.folder), "--namespace", "k8s.io"]
    config = tomllib.loads((instance.folder / "containerd.toml").read_text())
    containers = config["plugins"]["io.containerd.grpc.v1.cri"]["containerd"]
    env = {"CONTAINERD_SNAPSHOTTER": containers["snapshotter"]}
    return run(["ctr", *address, *words], env=env, timeout=600).stdout


def answers(instance: Instance) -> bool:
    """Does our containerd listen yet? Its socket is there a moment earlier, and refuses."""
    try:
        ctr(instance, "version")
    except Problem:
        return False
    return True


def import_image(instance: Instance, file: Path) -> None:
    """Load an image archive into the node."""
    ctr(instance, "images", "import", file)


def images(instance: Instance) -> set[str]:
    """The names of the images that the node has."""
    return set(ctr(instance, "images", "list", "--quiet").split())


def containerd(instance: Instance) -> Component:
    """The container runtime."""
    command = ("containerd", "--config", str(instance.folder / "containerd.toml"))
    return Component("containerd", command, 0, patience=20)


def kubelet(instance: Instance) -> Component:
    """Runs the pods."""
    command = (
        str(programs.path("kubelet")),
        f"--config={instance.folder}/kubelet.json",
        f"--kubeconfig={instance.certificates}/kubelet.kubeconfig",
        f"--node-ip={NODE_ADDRESS}",
        f"--hostname-override={NODE_NAME}",
        f"--root-dir={instance.folder}/kubelet",
        f"--cert-dir={instance.folder}/kubelet/pki",
    )
    health = f"http://127.0.0.1:{instance.port('kubelet-health')}/healthz"
    return Component("kubelet", command, instance.port("kubelet"), health)


def kube_proxy(instance: Instance) -> Component:
    """Makes Services work, by iptables rules."""
    command = (str(programs.path("kube-proxy")), f"--config={instance.folder}/kube-proxy.json")
    port = instance.port("proxy-health")
    return Component("kube-proxy", command, port, f"http://127.0.0.1:{port}/healthz")


def coredns(instance: Instance) -> Component:
    """The cluster's DNS, as a process on the node's address instead of pods."""
    command = (str(programs.path("coredns")), f"-conf={instance.folder}/Corefile")
    health = f"http://127.0.0.1:{instance.port('coredns-health')}/ready"
    return Component("coredns", command, 53, health)


def configure(instance: Instance) -> None:
    """Write every configuration file of the node."""
    folder = instance.folder
    images_in = preflight.snapshotter(folder)
    (folder / "containerd.toml").write_text(containerd_config(folder, images_in))
    (folder / "cni").mkdir(exist_ok=True)
    (folder / "cni/10-pods.conflist").write_text(json.dumps(cni_config(folder), indent=2))
    (folder / "kubelet.json").write_text(json.dumps(kubelet_config(instance), indent=2))
    (folder / "kube-proxy.json").write_text(json.dumps(proxy_config(instance), indent=2))
    (folder / "Corefile").write_text(corefile(instance))
    (folder / "resolv.conf").write_text("")


def containerd_config(folder: Path, snapshotter: str) -> str:
    """`restrict_oom_score_adj`: without the right to lower it no sandbox would start.
    `netns_mounts_under_state_dir`: so that unmounting our folder catches them all."""
    return f"""\
version = 2
root = "{folder}/containerd"
state = "{folder}/containerd-state"
[grpc]
  address = "{socket(folder)}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/containerd-opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{snapshotter}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{folder}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      Root = "{folder}/runc"
      SystemdCgroup = false
"""


def cni_config(folder: Path) -> dict[str, object]:
    """The pods' network: one bridge."""
    bridge = {
        "type": "bridge",
        "bridge": POD_LINK,
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "dataDir": str(folder / "cni-addresses"),
            "ranges": [[{"subnet": NODE_PODS}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": NETWORK, "plugins": [bridge, portmap]}


def kubelet_config(instance: Instance) -> dict[str, object]:
    """Quick starts, own folders, no eviction for a disk that is merely well filled."""
    keys = instance.certificates
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_ADDRESS,
        "port": instance.port("kubelet"),
        "healthzBindAddress": "127.0.0.1",
        "healthzPort": instance.port("kubelet-health"),
        "tlsCertFile": str(keys / "kubelet.crt"),
        "tlsPrivateKeyFile": str(keys / "kubelet.key"),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(keys / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": f"unix://{socket(instance.folder)}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{CGROUP}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [NODE_ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": str(instance.folder / "resolv.conf"),
        "podLogsDir": str(instance.folder / "pod-logs"),
        "volumePluginDir": str(instance.folder / "kubelet-plugins"),
        "makeIPTablesUtilChains": False,
        "maxPods": 250,
        "serializeImagePulls": False,
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
        "kubeAPIQPS": 200,
        "kubeAPIBurst": 400,
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
            "nodefs.inodesFree": "1%",
        },
    }


def proxy_config(instance: Instance) -> dict[str, object]:
    """Leave the kernel's settings alone as far as possible, open node ports on our address only."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "hostnameOverride": NODE_NAME,
        "clientConnection": {
            "kubeconfig": str(instance.certificates / "proxy.kubeconfig"),
            "qps": 100,
            "burst": 200,
        },
        "clusterCIDR": PODS,
        "nodePortAddresses": [f"{NODE_ADDRESS}/32"],
        "healthzBindAddress": f"127.0.0.1:{instance.port('proxy-health')}",
        "metricsBindAddress": f"127.0.0.1:{instance.port('proxy-metrics')}",
        "iptables": {"localhostNodePorts": False, "minSyncPeriod": "100ms"},
        "conntrack": {
            "maxPerCore": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }


def corefile(instance: Instance) -> str:
    """Names of the cluster are answered; every other name does not exist."""
    config = instance.certificates / "coredns.kubeconfig"
    return f"""\
cluster.local in-addr.arpa ip6.arpa {{
    bind {NODE_ADDRESS}
    errors
    ready 127.0.0.1:{instance.port("coredns-health")}
    kubernetes {{
        kubeconfig {config}
        pods insecure
        ttl 5
    }}
}}
. {{
    bind {NODE_ADDRESS}
    errors
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
"""
