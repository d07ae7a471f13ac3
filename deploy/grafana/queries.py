"""The forms that queries of the dashboard have. All ask for the jobs and instances that are chosen.

`by` are labels to keep, separated by commas; `where` are further matchers of labels.
"""

# Of the worker's series, by the words of each kind.
OF_MODEL = 'provider=~"$provider",model=~"$model"'
GEN_AI = 'gen_ai_provider_name=~"$provider",gen_ai_request_model=~"$model"'

_OWN = 'job=~"$job",instance=~"$instance"'


def metric_series(metric: str, where: str = "") -> str:
    return f"{metric}{{{_OWN}{',' if where else ''}{where}}}"


def summed_series(series: str, by: str = "", how: str = "sum") -> str:
    return f"{how} by ({by}) ({series})" if by else f"{how}({series})"


def gauge(metric: str, by: str = "", where: str = "", how: str = "sum") -> str:
    return summed_series(metric_series(metric, where), by, how)


def rate(counter: str, by: str = "", where: str = "") -> str:
    """Per second."""
    return summed_series(f"rate({metric_series(counter, where)}[$__rate_interval])", by)


def increase(counter: str, by: str = "", where: str = "") -> str:
    """In the time that a point of the graph stands for."""
    return summed_series(f"increase({metric_series(counter, where)}[$__rate_interval])", by)


def quantile(share: float, histogram: str, by: str = "", where: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, {rate(f'{histogram}_bucket', labels, where)})"


def ratio(part: str, whole: str) -> str:
    """Nothing, not NaN, while the whole is 0."""
    return f"{part} / ({whole} > 0)"


def mean(histogram: str, by: str = "", where: str = "") -> str:
    return ratio(rate(f"{histogram}_sum", by, where), rate(f"{histogram}_count", by, where))
