"""What people have who come to us: classic Pods, manifests, values of the dask/dask chart."""

from __future__ import annotations

CLASSIC = {
    "documented": """\
# worker-spec.yml

kind: Pod
metadata:
  labels:
    foo: bar  # whose it is
spec:
  restartPolicy: Never
  containers:
  # it installs first
  - image: ghcr.io/dask/dask:latest
    imagePullPolicy: IfNotPresent
    args: [dask-worker, --nthreads, '2', --no-dashboard, --memory-limit, 6GB, --death-timeout, '60']
    name: dask
    env:
      - name: EXTRA_PIP_PACKAGES
        value: git+https://github.com/dask/distributed
    resources:
      limits:
        cpu: "2"
        memory: 6G
      requests:
        cpu: "2"
        memory: 6G
""",
    "start-script": """\
kind: Pod
spec:
  containers:
    - name: dask
      image: ghcr.io/dask/dask:latest
      args: [start.sh, dask-worker, $(DASK_SCHEDULER_ADDRESS), --no-bokeh, --nprocs, 2]
""",
    "spec-alone": """\
containers:
  - {image: "dask:1", args: [dask-worker], volumeMounts: [{name: data, mountPath: /data}]}
volumes:
  - {name: data, emptyDir: {}}
""",
    "shell": """\
kind: Pod
metadata: {name: shell, annotations: {a: b}}
spec:
  serviceAccountName: dask
  containers:
    - {name: dask, image: "dask:1", command: [bash, -c], args: ["exec dask-worker --nthreads 1"]}
    - {name: log, image: "log:1"}
""",
    "placed": """\
kind: Pod
spec:
  nodeSelector: {pool: batch}
  tolerations: [{key: gpu, operator: Exists}]
  affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: []}}
  containers: [{name: dask, image: "dask:1", args: [dask-cuda-worker]}]
""",
    "words": """\
kind: Pod
metadata:
  annotations:
    on: "yes"
    when: "2030-01-01"
    number: "08"
    short: "1e3"
    clock: "12:30:00"
    colon: "a: b # c"
    empty: ""
    lines: |
      one
      two
spec:
  containers: [{name: dask, image: "dask:1", args: [dask-worker, --name, "é \\" \\\\ \\t"]}]
""",
    "unbounded": "kind: Pod\nspec: {containers: [{image: 'dask:1'}]}\n",
}

OPERATOR = {
    "all": """\
# What the platform team wrote.
apiVersion: kubernetes.dask.org/v1
kind: DaskCluster
metadata:
  name: demo
  namespace: team
  uid: 1234
  annotations:
    kopf.zalando.org/last-handled-configuration: "{}"
    why: demonstration  # of everything
  labels: {team: b}
spec:
  idleTimeout: 3600  # an hour
  worker:
    replicas: 3
    resources: {GPU: 1}
    # Labels of the workers.
    metadata: {labels: {cost: a}}
    spec:
      containers:
        - name: worker
          image: dask:1
          args: [dask-worker, --name, $(DASK_WORKER_NAME)]
          # Memory first.
          resources:
            limits: {memory: 4Gi}
  scheduler:
    spec:
      containers:
        - {name: scheduler, image: "dask:1", args: [dask-scheduler]}
    service:
      type: LoadBalancer  # the office network
status: {phase: Running}
---
# A second kind of workers.
apiVersion: kubernetes.dask.org/v1
kind: DaskWorkerGroup
metadata: {name: demo-gpu}
spec:
  cluster: demo
  worker:
    # As many as there are cards.
    replicas: 2
    spec:
      containers: [{name: worker, image: "dask:gpu", args: [dask-cuda-worker]}]
---
apiVersion: kubernetes.dask.org/v1
kind: DaskAutoscaler
metadata: {name: demo}
spec:
  cluster: demo
  minimum: 1  # never nothing
  maximum: 10
""",
    "list": """\
apiVersion: v1
kind: List
items:
  - apiVersion: kubernetes.dask.org/v1
    kind: DaskCluster
    metadata: {name: one}
    spec: {worker: {spec: {}}, scheduler: {spec: {}}}
  - apiVersion: kubernetes.dask.org/v1
    kind: DaskCluster
    metadata: {name: two}
    spec: {worker: {replicas: 0}, scheduler: {service: {type: NodePort}}}
""",
    "json": '{"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskCluster", "metadata": {"name": "j"}, "spec": {"image": "dask:1", "worker": {"replicas": 2}}}',
    "ours": """\
apiVersion: kubernetes.dask.org/v1
kind: DaskCluster
metadata: {name: ours}
spec:
  image: registry.example.org:5000/dask@sha256:%s
  idleTimeout: 60
  idleAction: Scale
  autoscaler: {minimum: 0, maximum: 4}
  updateStrategy: {maxSurge: 1}
  workerGroups:
    - name: big
      worker: {replicas: 1, spec: {nodeSelector: {big: "yes"}}}
"""
    % (64 * "a"),
    "named-otherwise": """\
apiVersion: kubernetes.dask.org/v1
kind: DaskCluster
metadata: {name: other}
spec:
  worker:
    replicas: 1
    spec:
      containers:
        - {name: log, image: "log:1"}
        - {name: main, image: "dask:1", args: [dask-worker]}
  scheduler:
    spec:
      containers: [{name: head, image: "dask:1", args: [dask-scheduler]}]
""",
    "job": """\
apiVersion: kubernetes.dask.org/v1
kind: DaskJob
metadata: {name: nightly, labels: {team: b}}
spec:
  backoffLimit: 2
  job:
    spec:
      # It reads and writes.
      containers: [{name: runner, image: "dask:1", args: [python, -m, report]}]
  cluster:
    spec:
      worker: {replicas: 2, spec: {containers: [{name: worker, image: "dask:1"}]}}
      scheduler: {spec: {containers: [{name: scheduler, image: "dask:1"}]}}
""",
}

CHART = {
    "little": "worker: {replicas: 4}\n",
    "usual": """\
# Our Dask.
scheduler:
  serviceType: LoadBalancer
  serviceAnnotations: {internal: "true"}
  # As small as it works.
  resources:
    limits: {cpu: 1, memory: 2G}
worker:
  image:
    repository: registry.example.org/dask
    tag: "2026.8.0"  # as the notebooks
    pullPolicy: Always
    pullSecrets: [{name: regcred}]
  replicas: 5  # of the budget
  # Threads follow.
  resources:
    limits: {cpu: 2, memory: 4G}
  env:
    - name: EXTRA_PIP_PACKAGES
      value: s3fs
  mounts:
    volumes: [{name: data, emptyDir: {}}]
    volumeMounts: [{name: data, mountPath: /data}]
  annotations: {a: b}
  tolerations: [{key: x, operator: Exists}]
  nodeSelector: {pool: batch}
  serviceAccountName: dask
  extraArgs: [--preload, setup.py]
  port: 8789
jupyter:
  enabled: false
""",
    "groups": """\
worker:
  resources: {limits: {cpu: 1, memory: 3G}}
  # Both kinds have it.
  tolerations: [{key: x}]
jupyter: {enabled: false}
additional_worker_groups:
  # Much memory.
  - name: high-mem
    replicas: 1  # it costs
    resources: {limits: {memory: 32G}}
    extraArgs: [--resources, MEMORY=6e9]
  - name: Gpu
    image: {dask_worker: dask-cuda-worker}
    threads_per_worker: 1
""",
    "half-a-cpu": """\
worker: {resources: {limits: {cpu: 500m}}, portDashboard: 9000}
scheduler: {extraArgs: [--preload, x.py], env: [{name: A, value: "1"}], livenessProbe: {httpGet: {path: /health, port: 8787}}}
jupyter: {enabled: false}
""",
    "scheduler-alone": """\
scheduler:
  image: {repository: r.example.org/dask, tag: "1"}
  affinity: {nodeAffinity: {}}
  nodeSelector: {a: b}  # near the disk
  securityContext: {runAsUser: 1000}
worker: {replicas: 0, securityContext: {runAsUser: 1000}}
jupyter: {enabled: false}
""",
    "probes": """\
fullnameOverride: lab
worker:
  default_resources: {cpu: 2, memory: 1GiB}
  resources: {limits: {nvidia.com/gpu: 1}, requests: {cpu: 1}}
  readinessProbe: {httpGet: {path: /health, port: 8790}}
  affinity: {}
jupyter: {enabled: false}
""",
    "much-else": """\
nameOverride: x
scheduler: {servicePort: 9786, replicas: 2, enabled: false, colour: red, metrics: {serviceMonitor: {enabled: true}}}
webUI: {servicePort: 8080, ingress: {enabled: true}}
worker: {custom_scheduler_url: "tcp://x:8786", strategy: {type: Recreate}, image: {repository: x}}
unknown: 1
""",
}
