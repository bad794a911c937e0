"""The door of the CPU account: who used the CPU of this process, window by window."""

from carbon_sdk.cpu.accounts import OTHER, SDK, Account, AccountKind, Cut, SpanUse, Use

__all__ = ["OTHER", "SDK", "Account", "AccountKind", "Cut", "SpanUse", "Use"]
