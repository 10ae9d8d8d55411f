"""One tree of everything that can go wrong and that somebody can do something about.

A message says what is wrong, where (file, row, column, setting), and what to do, for it is shown as it stands: by the
command line, by Airflow and in Slack. Anything else that is raised is a fault of the code and keeps its traceback.

- FunnelhouseError
    - UsageError: a command was called in a way that cannot work
    - SettingsError: a setting, or the home that it names, cannot be used
    - NothingPublishedError, NoBuildError: there is no published warehouse, no build
    - YamlFileError: a file that people write is no YAML, or holds what cannot be
    - warehouse: ManifestError, Ga4ConfigError, ParamsError, LakeOutdatedError, BuildFailedError, PublicationError,
      ForgottenListError, ChampionError
    - ingest: SourceError, FetchError, ImpossibleNameError, UnreadableFileError, DiskFullError, LakeLockedError,
      ForgetError, FlattenError, NoLakeError, ProposalError
    - expectations: SuiteError, LakeFileError, BuildIncompleteError, ValidationFailedError
    - ml: ContractError (ContractMismatchError), ModelRefusedError (ModelOutdatedError), TableError, TrainingDataError,
      TooFewDaysError
    - alerts: RulesError, KpiTablesError, UnknownIncidentError, AnswerError, RequestError (UntrustedRequestError),
      AlertDeliveryError (ChannelUnavailableError, ChannelRejectedError, ChannelFailedError, MessageRefusedError,
      MessageGoneError)
    - sample_shop: SampleBusyError, ForeignFolderError, LiveShopError, OtherLiveShopError
    - runner: BusyError, PortTakenError, OtherSettingsError, AirflowStartError, AirflowEndedError, AirflowApiError,
      RunFailedError, RunTimeoutError, SampleShopError, QueryError, DemoError
"""

from __future__ import annotations


class FunnelhouseError(Exception):
    """What somebody can do something about; the message says what."""

    exit_code = 1
    # a message that begins with `file:line:` is left so, for editors that jump there
    prefix = "error: "


class UsageError(FunnelhouseError):
    """A command was called in a way that cannot work."""

    exit_code = 2


class SettingsError(FunnelhouseError):
    """A setting is wrong; the message names each variable, what is wrong with it, and where to correct it."""


class NothingPublishedError(FunnelhouseError):
    """There is no published warehouse yet."""


class NoBuildError(FunnelhouseError):
    """No run has begun a build, or its build is published."""
