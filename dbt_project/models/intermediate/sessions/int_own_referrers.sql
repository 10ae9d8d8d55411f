{#- Labels that a host is looked at for, from its end: the longest rule has 7, and the domain is one more. -#}
{% set longest = 8 %}

-- Sites that send nobody, being the shop itself under another name of its domain, or the place where its visitors
-- pay. A domain is what its owner has registered: one label more than the public suffix, by the longest rule that fits.
with pairs as (
    select distinct
        page_hostname,
        referrer
    from {{ ref('int_referrals') }}
),

hosts as (
    select page_hostname as host from pairs
    union distinct
    select referrer as host from pairs
),

endings as (
    {% for labels in range(1, longest + 1) %}
        select
            host,
            {{ labels }} as labels,
            {{ regex_extract('host', '((?:[^.]+[.]){' ~ (labels - 1) ~ '}[^.]+)$') }} as ending
        from hosts
        {{ 'union all' if not loop.last }}
    {% endfor %}
),

suffixes as (
    select
        endings.host,
        -- without any rule, the last label is the suffix
        coalesce(
            max(case when rules.is_exception then rules.labels end),
            max(case when longer.ending is not null then rules.labels end),
            1
        ) as labels
    from endings
    left join {{ source('ops', 'public_suffixes') }} as rules on endings.ending = rules.suffix
    -- a rule for all names under another one needs such a name
    left join endings as longer on endings.host = longer.host and rules.labels = longer.labels
    where endings.ending is not null
    group by endings.host
),

domains as (
    select
        endings.host,
        endings.ending as domain
    from endings
    inner join suffixes on endings.host = suffixes.host and endings.labels = suffixes.labels + 1
    where
        endings.ending is not null
        -- an address has no domain
        and not {{ regex_full_match('endings.host', '[0-9.]+') }}
),

payments as (
    select distinct hosts.host
    from hosts
    inner join {{ ref('payment_providers') }} as providers
        on
            hosts.host = providers.domain
            or {{ ends_with_text('hosts.host', "'.' || providers.domain") }}
)

select
    pairs.page_hostname,
    pairs.referrer
from pairs
left join domains as own on pairs.page_hostname = own.host
left join domains as others on pairs.referrer = others.host
left join payments on pairs.referrer = payments.host
where
    own.domain = others.domain
    or payments.host is not null
