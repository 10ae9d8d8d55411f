{#- Google's default channel group (support.google.com/analytics/answer/9756891), rules in Google's order.
    `category` and `is_paid_without_medium` come from the seed ga4_source_categories. -#}
{% macro default_channel_group(source, medium, campaign, category, is_paid_without_medium) -%}
    case
        when coalesce({{ source }}, '(direct)') = '(direct)' and coalesce({{ medium }}, '(none)') in ('(none)', '(not set)')
            then 'Direct'
        when {{ contains_text("coalesce(" ~ campaign ~ ", '')", 'cross-network') }} then 'Cross-network'
        when
            ({{ category }} = 'shopping' or {{ is_shopping_campaign(campaign) }})
            and ({{ is_paid_medium(medium) }} or ({{ is_paid_without_medium }} and {{ medium }} is null))
            then 'Paid Shopping'
        when {{ category }} = 'search' and {{ is_paid_medium(medium) }} then 'Paid Search'
        when {{ category }} = 'social' and {{ is_paid_medium(medium) }} then 'Paid Social'
        when {{ category }} = 'video' and {{ is_paid_medium(medium) }} then 'Paid Video'
        when {{ medium }} in ('display', 'banner', 'expandable', 'interstitial', 'cpm') then 'Display'
        when {{ is_paid_medium(medium) }} then 'Paid Other'
        when {{ category }} = 'shopping' or {{ is_shopping_campaign(campaign) }} then 'Organic Shopping'
        when
            {{ category }} = 'social'
            or {{ medium }} in ('social', 'social-network', 'social-media', 'sm', 'social network', 'social media')
            then 'Organic Social'
        when {{ category }} = 'video' or {{ contains_text("coalesce(" ~ medium ~ ", '')", 'video') }} then 'Organic Video'
        when {{ category }} = 'search' or {{ medium }} = 'organic' then 'Organic Search'
        when {{ medium }} in ('referral', 'app', 'link') then 'Referral'
        when
            {{ source }} in ('email', 'e-mail', 'e_mail', 'e mail')
            or {{ medium }} in ('email', 'e-mail', 'e_mail', 'e mail')
            then 'Email'
        when {{ medium }} = 'affiliate' then 'Affiliates'
        when {{ medium }} = 'audio' then 'Audio'
        when {{ source }} = 'sms' or {{ medium }} = 'sms' then 'SMS'
        when
            {{ regex_full_match("coalesce(" ~ medium ~ ", '')", '.*push') }}
            or {{ contains_text("coalesce(" ~ medium ~ ", '')", 'mobile') }}
            or {{ contains_text("coalesce(" ~ medium ~ ", '')", 'notification') }}
            or {{ source }} = 'firebase'
            then 'Mobile Push Notifications'
        else 'Unassigned'
    end
{%- endmacro %}

{% macro is_paid_medium(medium) -%}
    {{ regex_full_match("coalesce(" ~ medium ~ ", '')", '.*cp.*|ppc|retargeting|paid.*') }}
{%- endmacro %}

{% macro is_shopping_campaign(campaign) -%}
    {{ regex_full_match("coalesce(" ~ campaign ~ ", '')", '(.*[^a-df-z])?shop.*|.*shopping.*') }}
{%- endmacro %}
