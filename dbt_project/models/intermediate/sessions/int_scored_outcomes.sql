{{ config(tags=['scores']) }}

-- Scores beside what happened, on dates that GA4 no longer rewrites. Only a session of a day after the model's last
-- training day tells what the model is worth; those before it show how many sessions there are.
with scores as (
    select
        session_id,
        'propensity_full' as model,
        propensity_full as score,
        propensity_full_version as version
    from {{ ref('fct_session_scores') }}
    where propensity_full is not null
    union all
    select
        session_id,
        'propensity_precheckout' as model,
        propensity_precheckout as score,
        propensity_precheckout_version as version
    from {{ ref('fct_session_scores') }}
    where propensity_precheckout is not null
)

select
    scores.model,
    scores.version,
    scores.session_id,
    sessions.session_date,
    scores.score,
    coalesce(sessions.session_date > versions.fitted_until, false) as is_out_of_sample,
    sessions.has_purchase,
    sessions.revenue_usd
from scores
inner join {{ ref('int_session_facts') }} as sessions on scores.session_id = sessions.session_id
inner join {{ ref('int_days') }} as days on sessions.session_date = days.kpi_date and not days.is_provisional
left join {{ source('predictions', 'model_versions') }} as versions
    on scores.model = versions.model and scores.version = versions.version
