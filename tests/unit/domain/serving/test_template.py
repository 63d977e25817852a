"""The serving template: the InferenceService, its ServingRuntime, and the ConfigMap that holds them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from syrupy.assertion import SnapshotAssertion

from gatehouse.api.meta import ObjectMeta
from gatehouse.api.model_registry import ServingDefaults
from gatehouse.domain.runtimes.arguments import RESERVED_FLAGS
from gatehouse.domain.runtimes.refusals import NameRefused, NothingToServe, ReservedArgument
from gatehouse.domain.serving.names import config_map_name, inference_service_name, label_value, longest_service_name
from gatehouse.domain.serving.template import ServingInput, TemplateWriter, read_template, render, retarget, to_yaml
from unit.domain.hardware.fits import granite
from unit.domain.serving.serving_inputs import AWQ, DIGEST, serving_input

KNOWN_GOOD_RUNTIME_SPEC = yaml.safe_load("""
multiModel: false
annotations: {prometheus.io/port: "8080", prometheus.io/path: /metrics, opendatahub.io/kserve-runtime: vllm}
supportedModelFormats: [{name: vLLM, autoSelect: true}]
containers:
  - name: kserve-container
    image: vllm/vllm-openai:v0.30.0@sha256:8a69ffad015f138d7170c4ddc429e230a3bc1c1719f67e14324749df200a4b90
    command: [python3, -m, vllm.entrypoints.openai.api_server]
    args: [--port=8080, --model=/mnt/models, "--served-model-name={{.Name}}"]
    env:
      - {name: HF_HOME, value: /tmp/hf_home}
      - {name: HF_HUB_OFFLINE, value: "1"}
      - {name: HOME, value: /tmp}
      - {name: USER, value: vllm}
    ports: [{containerPort: 8080, protocol: TCP, name: http1}]
    securityContext:
      allowPrivilegeEscalation: false
      capabilities: {drop: [ALL]}
      runAsNonRoot: true
      runAsUser: 2000
      seccompProfile: {type: RuntimeDefault}
    startupProbe: {httpGet: {path: /health, port: 8080}, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 120}
    readinessProbe: {httpGet: {path: /health, port: 8080}, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 3}
    livenessProbe: {httpGet: {path: /health, port: 8080}, periodSeconds: 30, timeoutSeconds: 10, failureThreshold: 5}
    volumeMounts: [{name: shm, mountPath: /dev/shm}]
volumes: [{name: shm, emptyDir: {medium: Memory, sizeLimit: 2Gi}}]
""")

KNOWN_GOOD_PREDICTOR = yaml.safe_load("""
minReplicas: 1
maxReplicas: 1
timeout: 600
deploymentStrategy: {type: Recreate}
nodeSelector: {nvidia.com/gpu.product: NVIDIA-L4}
tolerations: [{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}]
model:
  modelFormat: {name: vLLM}
  storageUri: s3://models/granite-3.1-8b-instruct-FP8-dynamic/
  storage: {key: minio-connection}
  args: [--max-model-len=16384, --gpu-memory-utilization=0.90]
  resources:
    requests: {cpu: "8", memory: 32Gi, nvidia.com/gpu: "1"}
    limits: {cpu: "16", memory: 60Gi, nvidia.com/gpu: "1"}
""")


def owner(name: str = "granite-3.1-8b-instruct-fp8-3.1-may2025-validated") -> ObjectMeta:
    return ObjectMeta(name=name, namespace="private-ai", uid="0b6b3d6c-0000-4000-8000-000000000001")


class TestGolden:
    @pytest.mark.parametrize(
        "given_input",
        [
            serving_input(),
            serving_input(
                machine="nvidia-h100-80gb",
                count=2,
                kv_cache_dtype="fp8",
                serving={
                    "maxModelLen": 32768,
                    "extraArgs": ["--enable-auto-tool-choice", "--tool-call-parser=granite"],
                    "env": [
                        {"name": "VLLM_LOGGING_LEVEL", "value": "WARNING"},
                        {"name": "VLLM_LOGGING_PREFIX", "value": "1e3"},
                    ],
                },
                defaults=ServingDefaults(
                    label_prefix="modelregistry.kubeflow.org", connection_secret="models", vllm_image="registry/vllm:1"
                ),
            ),
            serving_input(machine="nvidia-t4", config=granite(quantization=AWQ), description=None, display_name=None),
            serving_input(machine="amd-mi300x"),
            serving_input(model_file="Q8_0/granite-Q8_0-00001-of-00003.gguf"),
        ],
        ids=["l4", "two-h100-fp8-cache", "t4-half", "mi300x", "gguf"],
    )
    def test_config_map(self, given_input: ServingInput, snapshot: SnapshotAssertion) -> None:
        made = TemplateWriter().config_map(render(given_input), owner=owner())
        data = made.pop("data")
        assert made == snapshot(name="object")
        assert data["inferenceservice.yaml"] == snapshot(name="inferenceservice.yaml")
        assert data["servingruntime.yaml"] == snapshot(name="servingruntime.yaml")


class TestKnownGoodPair:
    """The pair that KServe 0.20 was run with."""

    def test_the_inference_service(self) -> None:
        template = render(serving_input(serving={"maxModelLen": 16384}))
        service = template.inference_service
        model = service["spec"]["predictor"]["model"]
        assert model["runtime"] == template.serving_runtime["metadata"]["name"]
        expected = KNOWN_GOOD_PREDICTOR | {"model": KNOWN_GOOD_PREDICTOR["model"] | {"runtime": model["runtime"]}}
        assert service["spec"] == {"predictor": expected}
        assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
        assert {
            "opendatahub.io/dashboard": "true",
            "opendatahub.io/genai-asset": "true",
            "gatehouse.dev/hardware-profile": "nvidia-l4",
            "gatehouse.dev/runtime": "vLLM",
            "modelregistry.opendatahub.io/registered-model-id": "7",
            "modelregistry.opendatahub.io/model-version-id": "9",
        }.items() <= service["metadata"]["labels"].items()
        assert {
            "serving.kserve.io/deploymentMode": "RawDeployment",
            "serving.kserve.io/autoscalerClass": "none",
            "gatehouse.dev/hardware-profile": "nvidia-l4",
            "opendatahub.io/model-type": "generative",
            "gatehouse.dev/artifact-digest": DIGEST,
        }.items() <= service["metadata"]["annotations"].items()

    def test_a_platform_may_choose_the_user_which_is_never_root(self) -> None:
        defaults = ServingDefaults(run_as_user=0)
        [container] = render(serving_input(defaults=defaults)).serving_runtime["spec"]["containers"]
        assert container["securityContext"]["runAsNonRoot"] is True
        assert "runAsUser" not in container["securityContext"]

    def test_the_serving_runtime(self) -> None:
        runtime = render(serving_input()).serving_runtime
        assert (runtime["apiVersion"], runtime["kind"]) == ("serving.kserve.io/v1alpha1", "ServingRuntime")
        assert runtime["spec"] == KNOWN_GOOD_RUNTIME_SPEC
        assert runtime["metadata"]["namespace"] == "private-ai"


class TestArguments:
    @pytest.mark.parametrize(
        ("given_input", "arguments"),
        [
            (serving_input(), ["--max-model-len=58624", "--gpu-memory-utilization=0.90"]),
            (
                serving_input(count=4, kv_cache_dtype="fp8"),
                [
                    "--max-model-len=131072",
                    "--gpu-memory-utilization=0.90",
                    "--tensor-parallel-size=4",
                    "--kv-cache-dtype=fp8",
                ],
            ),
            (
                serving_input(machine="nvidia-t4", config=granite(quantization=AWQ)),
                ["--max-model-len=16640", "--gpu-memory-utilization=0.90", "--max-num-seqs=128", "--dtype=half"],
            ),
            (
                serving_input(config=granite(architecture="NobodyForCausalLM"), serving={"extraArgs": ["--seed=1"]}),
                ["--max-model-len=4096", "--gpu-memory-utilization=0.90", "--seed=1"],
            ),
            (
                serving_input(config=granite(max_position_embeddings=None, model_type=None)),
                ["--gpu-memory-utilization=0.90"],
            ),
            (
                serving_input(machine="nvidia-h100-80gb", config=granite(vocab_size=600_000, hidden_size=40_960)),
                ["--max-model-len=35840", "--gpu-memory-utilization=0.90", "--max-num-seqs=256"],
            ),
        ],
    )
    def test_each_is_set_where_it_is_owed(self, given_input: ServingInput, arguments: list[str]) -> None:
        assert render(given_input).inference_service["spec"]["predictor"]["model"]["args"] == arguments

    def test_accelerators_are_those_that_vllm_spans(self) -> None:
        resources = render(serving_input(count=3)).inference_service["spec"]["predictor"]["model"]["resources"]
        assert resources["requests"]["nvidia.com/gpu"] == resources["limits"]["nvidia.com/gpu"] == "2"

    def test_what_does_not_fit_is_not_served(self) -> None:
        with pytest.raises(NothingToServe) as refused:
            render(serving_input(serving={"maxModelLen": 131072}))
        assert "60,160" in refused.value.finding.remedy

    @pytest.mark.parametrize(
        "argument",
        [
            *RESERVED_FLAGS,
            "--model=org/other",
            "--mod=org/other",
            "--max-model=1",
            "--trust",
            "--trust_remote_code",
            "--hf-overrides.architectures=x",
            "--speculative-config={{.Labels}}",
            "--compilation-config={{index .Labels}}",
            "-tp=4",
            "positional",
            "--",
            "",
        ],
    )
    def test_reserved_arguments_are_refused_with_the_way_out(self, argument: str) -> None:
        given_input = serving_input()
        bad = given_input.serving.model_copy(update={"extra_args": ["--seed=1", argument]})
        with pytest.raises(ReservedArgument) as refused:
            render(replace(given_input, serving=bad))
        problem = refused.value.finding
        assert problem.reason == "ReservedArgument"
        assert repr(argument) in problem.found
        assert "spec.serving.extraArgs" in problem.remedy

    @pytest.mark.parametrize(
        "argument",
        [
            "--seed=1",
            "--enable-auto-tool-choice",
            "--tool-call-parser=granite",
            "--reasoning-parser=granite",
            "--max-num-seqs=16",
            "--enable-prefix-caching",
            "--no-enable-prefix-caching",
            "--tokenizer-mode=mistral",
            "--chat-template-content-format=openai",
            "--quantization=fp8",
        ],
    )
    def test_harmless_arguments_are_taken(self, argument: str) -> None:
        given_input = serving_input(serving={"extraArgs": [argument]})
        assert render(given_input).inference_service["spec"]["predictor"]["model"]["args"][-1] == argument

    def test_variables_go_to_the_runtime_and_make_it_another(self) -> None:
        plain = render(serving_input()).serving_runtime
        noisy = render(
            serving_input(serving={"env": [{"name": "VLLM_LOGGING_LEVEL", "value": "DEBUG"}]})
        ).serving_runtime
        assert noisy["spec"]["containers"][0]["env"][-1] == {"name": "VLLM_LOGGING_LEVEL", "value": "DEBUG"}
        assert plain["metadata"]["name"] != noisy["metadata"]["name"]


class TestDigest:
    def test_is_the_same_for_the_same_input(self) -> None:
        assert render(serving_input()).digest == render(serving_input()).digest
        assert re.fullmatch(r"sha256:[0-9a-f]{64}", render(serving_input()).digest)

    @pytest.mark.parametrize(
        "changes",
        [
            {"digest": "sha256:" + "f" * 64},
            {"version_id": 10},
            {"description": "x"},
            {"artifact_uri": "s3://models/other/"},
        ],
    )
    def test_changes_with_what_is_served(self, changes: dict[str, Any]) -> None:
        assert render(serving_input(**changes)).digest != render(serving_input()).digest

    def test_versions_share_a_runtime(self) -> None:
        one, other = render(serving_input()), render(serving_input(name="other", version_id=10))
        assert one.serving_runtime == other.serving_runtime


VERSION_NAMES = st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,80}[a-z0-9])?", fullmatch=True)
NAMESPACES = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?", fullmatch=True)


class TestNames:
    @pytest.mark.parametrize("version", ["granite-8b", "g", "a" * 42])
    def test_are_the_versions_own_where_kserve_takes_them(self, version: str) -> None:
        assert inference_service_name(version, namespace="private-ai", home="private-ai") == version

    @pytest.mark.parametrize(
        ("version", "name"),
        [
            ("granite-3.1-8b", "granite-3-1-8b-c4a7f1a6ee"),
            ("3granite", "m-3granite-0b72d947f2"),
            ("a" * 43, "a" * 31 + "-66d34fba71"),
            ("granite-0123456789", "granite-0123456789-36823c29f3"),
        ],
    )
    def test_are_readable_and_hashed_otherwise(self, version: str, name: str) -> None:
        assert inference_service_name(version, namespace="private-ai", home="private-ai") == name

    @given(version=VERSION_NAMES, namespace=NAMESPACES)
    def test_are_what_kserve_takes(self, version: str, namespace: str) -> None:
        name = inference_service_name(version, namespace=namespace, home=namespace)
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name)
        assert len(f"{name}-predictor-{namespace}") <= 63
        assert len(f"isvc.{name}-predictor") <= 63
        assert name == inference_service_name(version, namespace=namespace, home=namespace)

    @given(versions=st.lists(VERSION_NAMES, unique=True, max_size=30), namespace=NAMESPACES)
    def test_are_never_shared(self, versions: list[str], namespace: str) -> None:
        first = [inference_service_name(version, namespace=namespace, home=namespace) for version in versions]
        assert len(set(first)) == len(versions)
        # A version that is called what another one's InferenceService is called.
        copied = [inference_service_name(name, namespace=namespace, home=namespace) for name in first]
        for version, name, again in zip(versions, first, copied, strict=True):
            assert name == version or again not in first

    def test_a_namespace_too_long_is_refused(self) -> None:
        with pytest.raises(NameRefused) as refused:
            render(serving_input(namespace="n" * 41))
        assert refused.value.finding.reason == "NamespaceTooLong"
        assert "40" in refused.value.finding.expected
        assert longest_service_name("n" * 40) == 12

    @given(st.text(max_size=200))
    def test_label_values_are_valid(self, text: str) -> None:
        value = label_value(text)
        assert len(value) <= 63
        assert re.fullmatch(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?", value)
        assert label_value(value) == value

    def test_long_profile_names_are_shortened_in_the_label_and_whole_in_the_annotation(self) -> None:
        metadata = render(serving_input(profile_name="p" * 200)).inference_service["metadata"]
        assert len(metadata["labels"]["gatehouse.dev/hardware-profile"]) == 63
        assert metadata["annotations"]["gatehouse.dev/hardware-profile"] == "p" * 200

    @pytest.mark.parametrize("length", [1, 245, 246, 253])
    def test_config_maps_have_names_of_objects(self, length: int) -> None:
        name = config_map_name("v" * length)
        assert len(name) <= 253
        assert name.endswith("-serving")
        assert length > 245 or name == "v" * length + "-serving"


class TestRetarget:
    def test_nothing_asked_changes_nothing(self) -> None:
        assert retarget(render(serving_input())) == render(serving_input())

    def test_name_namespace_and_stage(self) -> None:
        template = render(serving_input())
        moved = retarget(template, name="chat", namespace="prod", stage="production")
        assert (moved.name, moved.namespace) == ("chat", "prod")
        assert moved.serving_runtime["metadata"]["namespace"] == "prod"
        assert moved.serving_runtime["spec"] == template.serving_runtime["spec"]
        assert moved.inference_service["metadata"]["labels"]["gatehouse.dev/stage"] == "production"
        assert moved.inference_service["spec"] == template.inference_service["spec"]
        assert template.namespace == "private-ai"

    def test_versions_of_two_namespaces_do_not_meet_in_a_third(self) -> None:
        names = {
            retarget(render(serving_input(name="chat", namespace=home)), namespace="prod").name
            for home in ("team-a", "team-b", "prod")
        }
        assert len(names) == 3
        assert "chat" in names

    @pytest.mark.parametrize("name", ["Chat", "3chat", "chat.1", "chat-", "c" * 49, "chat\n"])
    def test_a_name_that_kserve_does_not_take_is_refused(self, name: str) -> None:
        with pytest.raises(NameRefused, match="NameInvalid"):
            retarget(render(serving_input()), name=name)

    @pytest.mark.parametrize("namespace", ["Prod", "a.b", "-a", "n" * 64])
    def test_what_is_not_a_namespace_is_refused(self, namespace: str) -> None:
        with pytest.raises(NameRefused, match="NamespaceInvalid"):
            retarget(render(serving_input()), namespace=namespace)


class TestText:
    def test_a_template_survives_its_config_map(self) -> None:
        template = render(serving_input())
        read = read_template(TemplateWriter().config_map(template, owner=owner()))
        assert read == template
        assert read.digest == template.digest

    @given(st.dictionaries(st.text(min_size=1, max_size=40), st.text(max_size=80), max_size=5))
    def test_any_text_survives(self, given_texts: dict[str, str]) -> None:
        assert yaml.safe_load(to_yaml(given_texts)) == given_texts

    @pytest.mark.parametrize(
        "text", ["y", "N", "1e3", "0o17", "0b1", "1_000", "12:30:45", "0x1F", "+1", ".5", "null", "~", "on", "=", ""]
    )
    def test_text_that_goes_yaml_reads_otherwise_is_quoted(self, text: str) -> None:
        assert to_yaml({"a": text}).rstrip("\n") == f"a: '{text}'"

    def test_the_runtimes_kept_are_bounded_and_right(self) -> None:
        writer = TemplateWriter(kept=2)
        for image in ("a", "b", "c", "a", "c"):
            template = render(serving_input(defaults=ServingDefaults(vllm_image=image)))
            made = writer.config_map(template, owner=owner())
            assert yaml.safe_load(made["data"]["servingruntime.yaml"]) == template.serving_runtime
        assert len(writer._runtimes) == 2

    def test_an_edited_config_map_is_refused(self) -> None:
        made = TemplateWriter().config_map(render(serving_input()), owner=owner())
        key = "inferenceservice.yaml"
        edited = made | {"data": made["data"] | {key: made["data"][key].replace("granite-3.1-8b-instruct-FP8", "evil")}}
        with pytest.raises(ValueError, match="template-digest"):
            read_template(edited)

    @pytest.mark.parametrize(
        "text",
        [
            None,
            7,
            "",
            "- a",
            "just text",
            "a: [",
            "a: &b [1]\nc: *b",
            "[" * 100_000,
            "a: " + "{b: " * 70 + "1" + "}" * 70,
            "x" * 300_000,
            "a: 1\n---\na: 1\n",
            "a: \ud800",
        ],
        ids=[
            "absent",
            "number",
            "empty",
            "list",
            "text",
            "broken",
            "alias",
            "deep-open",
            "deep",
            "long",
            "two",
            "surrogate",
        ],
    )
    def test_what_is_no_template_is_refused(self, text: object) -> None:
        with pytest.raises(ValueError, match="ConfigMap"):
            read_template({"data": {"inferenceservice.yaml": text, "servingruntime.yaml": text}})
