"""Stages: functions whose keyword arguments *are* their cache key.

Calling a stage computes the key, looks it up, and on a miss builds under the key's lease and publishes. Inside a flow
this happens in a Prefect task, whose state (*Cached* or *Completed*) and message show the outcome; Prefect's own cache
is not used. Outside a flow a stage is an ordinary call.
"""

import inspect
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tasks.artifacts.keys.code import code_version, function_version
from tasks.artifacts.keys.digests import digest_of
from tasks.artifacts.keys.explain import explain, summarize
from tasks.artifacts.keys.key import key_of
from tasks.artifacts.ref import ArtifactRef
from tasks.artifacts.store import Store
from tasks.config.errors import MACHINE_ERRORS, Interrupted, MachineError, Signalled
from tasks.config.json_types import JsonObject
from tasks.runtime.build import Build
from tasks.runtime.context import Body, Paused, RunContext, StageEntry, current
from tasks.runtime.inputs import Pending, artifacts_in, described, modules_of, opened, values_in
from tasks.runtime.log import info, warn
from tasks.runtime.prefect_api.stopping import answering_for_prefect, cancelled, interrupted
from tasks.runtime.secrets import redacting_errors

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

WARNINGS = "warnings"  # among an artifact's facts


@dataclass(frozen=True)
class Stage:
    """One of the twelve stages, made by `stage`; see there."""

    name: str
    body: Body
    format: int
    libraries: tuple[str, ...]
    components: tuple[str, ...]
    files: Callable[..., Mapping[str, Path]] | None
    readers: Callable[..., Mapping[str, str]] | None
    environment: Callable[..., Mapping[str, str]] | None
    after: Callable[..., str] | None
    resuming: Callable[..., str] | None
    run_in_plan: bool | Callable[..., bool]

    def __call__(self, **inputs: object) -> ArtifactRef:
        """Return the artifact for `inputs`, from the store or built now.

        Raises:
            FinetuneError: an error the user can fix.
        """
        context = current()
        if context.overlay is not None:
            return self._plan(context, inputs)
        from prefect.context import FlowRunContext

        if FlowRunContext.get() is None:
            return self._resolve(context, inputs)[0]
        return self._as_task(context, inputs)

    def _as_task(self, context: RunContext, inputs: dict[str, Any]) -> ArtifactRef:
        from prefect import task
        from prefect.cache_policies import NO_CACHE
        from prefect.states import Completed

        resolved: list[ArtifactRef] = []
        ended: list[Interrupted | Paused] = []  # Prefect raises neither

        def run(**artifacts: ArtifactRef | Mapping[str, ArtifactRef]) -> "State":
            try:
                with answering_for_prefect():
                    ref, entry = self._resolve(context, inputs)
            except KeyboardInterrupt as stop:
                ended.append(found := interrupted(stop))
                return cancelled(found)
            except Interrupted as stop:
                ended.append(stop)
                return cancelled(stop)
            except Paused as pause:  # not a failure: the sweep may resume it
                ended.append(pause)
                return Completed(name="Paused", message=str(pause), data=None)
            resolved.append(ref)
            return Completed(
                name="Cached" if entry.state == "cached" else "Completed", message=entry.reason, data=ref.key
            )

        # Artifacts are parameters only so that Prefect draws the edges of its run graph.
        artifacts = {name.partition(".")[0]: inputs[name.partition(".")[0]] for name in artifacts_in(inputs)}
        task(name=self.name, cache_policy=NO_CACHE, persist_result=False)(run)(**artifacts)
        if ended:
            raise ended[0]
        return resolved[0]

    def _resolve(self, context: RunContext, inputs: dict[str, Any]) -> tuple[ArtifactRef, StageEntry]:
        with redacting_errors():
            try:
                return self._found_or_built(context, inputs)
            except OSError as error:
                raise _machine_error(error, self.name, context.store) from error

    def _found_or_built(self, context: RunContext, inputs: dict[str, Any]) -> tuple[ArtifactRef, StageEntry]:
        started, store = time.perf_counter(), context.store
        document, files = self._key_document(context, inputs)
        key = key_of(document)
        external = {name: str(path) for name, path in files.items()}

        def done(ref: ArtifactRef, state: Literal["built", "cached"], reason: str) -> tuple[ArtifactRef, StageEntry]:
            ref = ref.model_copy(update={"external": external})
            if self.after and (addition := self.after(context.open(ref), **opened(context, inputs))):
                reason = f"{reason}; {addition}"
            warnings = tuple(ref.facts.get(WARNINGS, ()))
            if state == "cached":
                for line in warnings:
                    warn(line)
            entry = StageEntry(self.name, state, round(time.perf_counter() - started, 3), key, reason, warnings)
            context.add(entry, ref)
            return ref, entry

        with store.gc_lock():
            found = store.lookup(self.name, key)
            if isinstance(found, ArtifactRef):
                return done(found, "cached", f"hit {key[:8]}, built by run {found.run}")
        with store.lease(self.name, key, lambda: info(f"{self.name}: another run is building {key[:8]}, waiting")):
            with store.gc_lock():
                again = store.lookup(self.name, key)
                if isinstance(again, ArtifactRef):
                    return done(again, "cached", f"hit {key[:8]}, built meanwhile by run {again.run}")
            context.begin(self.name, key)
            why = summarize(explain(store, self.name, document, again, None if context.other else context.before))
            why = self._resuming(store, document, inputs) or why
            if again.category == "DAMAGED":
                warn(f"{self.name}: {again.detail}; rebuilding it")
            built = done(self._build(context, inputs, document, key, files), "built", why)
        if context.signalled is not None:
            raise Signalled(context.signalled)
        return built

    def _build(
        self, context: RunContext, inputs: dict[str, Any], document: JsonObject, key: str, files: Mapping[str, Path]
    ) -> ArtifactRef:
        store, started = context.overlay or context.store, time.perf_counter()
        with store.building(self.name, key) as out:
            build = Build(store, self.name, key, out, files, document=document, run=context.run, until=context.until)
            body = context.replaced.get(self.name, self.body)
            facts = body(build, **opened(context, inputs))
            if build.warnings:
                facts = {**facts, WARNINGS: build.warnings}
            with store.gc_lock():
                ref = store.publish(
                    self.name, key, document, out, facts=facts, run=context.run,
                    seconds=time.perf_counter() - started, adopted=build.adopted,
                )  # fmt: skip
        build.finish()
        return ref

    def _plan(self, context: RunContext, inputs: dict[str, Any]) -> ArtifactRef:
        """Return what `_resolve` would find. Light stages build into the overlay, so that later stages can be
        planned."""
        assert context.overlay is not None
        started = time.perf_counter()
        pending_inputs = [name for name, ref in artifacts_in(inputs).items() if isinstance(ref, Pending)]
        if pending_inputs:
            pending = Pending(stage=self.name, key=key_of(self._key_document(context, inputs)[0]), members={})
            context.add(
                StageEntry(self.name, "miss", 0.0, "", f"DATA: {', '.join(pending_inputs)} will be new"), pending
            )
            return pending
        document, files = self._key_document(context, inputs)
        key = key_of(document)
        found = context.store.lookup(self.name, key)
        if isinstance(found, ArtifactRef):
            ref, state, reason = found, "hit", f"hit {key[:8]}, built by run {found.run}"
        else:
            causes = explain(context.store, self.name, document, found, None if context.other else context.before)
            state, reason = "miss", self._resuming(context.store, document, inputs) or summarize(causes)
            planned_before = context.overlay.lookup(self.name, key)  # by a plan of another cell
            ref = (
                planned_before
                if isinstance(planned_before, ArtifactRef)
                else Pending(stage=self.name, key=key, members={})
            )
            run_in_plan = self.run_in_plan(**inputs) if callable(self.run_in_plan) else self.run_in_plan
            if run_in_plan and context.run_in_plan and isinstance(ref, Pending):
                ref = self._build(context, inputs, document, key, files)
        ref = ref.model_copy(update={"external": {name: str(path) for name, path in files.items()}})
        context.add(StageEntry(self.name, state, round(time.perf_counter() - started, 3), key, reason), ref)
        return ref

    def _resuming(self, store: Store, document: Mapping[str, Any], inputs: Mapping[str, Any]) -> str:
        """Return what a build would resume from, if anything."""
        return self.resuming(store, document, **inputs) if self.resuming else ""

    def _key_document(self, context: RunContext, inputs: Mapping[str, Any]) -> tuple[JsonObject, Mapping[str, Path]]:
        """Return the document whose sha256 is the key, and the external files it lists."""
        files: Mapping[str, Path] = self.files(**inputs) if self.files else {}
        artifacts, replaced = artifacts_in(inputs), context.replaced.get(self.name)
        values = values_in(inputs)
        readers: Mapping[str, str] = self.readers(files, **inputs) if self.readers and not replaced else {}
        modules = [self.body.__module__, *modules_of(values, self.components),
                   *(reader.partition(":")[0] for reader in readers.values())]  # fmt: skip
        environment = {library: version(library) for library in self.libraries} | {**readers}
        return {
            "stage": self.name,
            "format": self.format,
            "code": function_version(replaced) if replaced else code_version(modules),
            "config": described(values, self.components),
            "inputs": {name: ref.digest for name, ref in artifacts.items()},
            "files": {name: digest_of(context.store, path) for name, path in files.items()},
            "environment": environment | dict(self.environment(**inputs) if self.environment else {}),
        }, files


def stage(
    *,
    format: int = 1,
    libraries: tuple[str, ...] = (),
    components: tuple[str, ...] = (),
    files: Callable[..., Mapping[str, Path]] | None = None,
    readers: Callable[..., Mapping[str, str]] | None = None,
    environment: Callable[..., Mapping[str, str]] | None = None,
    after: Callable[..., str] | None = None,
    resuming: Callable[..., str] | None = None,
    run_in_plan: bool | Callable[..., bool] = False,
) -> Callable[[Body], Stage]:
    """Make a stage of a function `body(build, *, …) -> facts`.

    Its keyword arguments are config values, artifacts (keyed by digest), `Component`s (keyed by description and code),
    mappings of names to artifacts or components, or `Unkeyed`.

    Args:
        format: version of the files that the body writes; raise it if they change although the code does not.
        libraries: distributions whose versions affect the result.
        components: what it uses of each `Component` it is given; the code of these is part of the key.
        files: external files it reads, by name; their digests are part of the key.
        readers: called with these files and the inputs; returns the components (`module:attribute`) that read them, by
            name, which are part of the key as is their code.
        environment: facts of this machine that affect the result.
        after: called with the artifact in every run, cached or built (it must be idempotent); returns what to add to
            the reason.
        resuming: returns, from the store, the key's document and the inputs, what a build would resume from, if
            anything.
        run_in_plan: whether it is cheap enough to run in a plan; a function of the inputs if it depends on them.
    """

    def make(body: Body) -> Stage:
        assert next(iter(inspect.signature(body).parameters)) == "build"
        name = body.__module__.rsplit(".", 1)[-1]
        return Stage(
            name, body, format, libraries, components, files, readers, environment, after, resuming, run_in_plan
        )

    return make


def _machine_error(error: OSError, stage: str, store: Store) -> OSError | MachineError:
    if error.errno not in MACHINE_ERRORS:
        return error
    where = f" ({error.filename})" if error.filename else ""
    return MachineError(
        f"{stage}: {error.strerror}{where}. No partial results are left; fix it and run the same command again "
        f"(store.root is {store.root})"
    )
