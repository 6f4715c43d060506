"""Deploys the templates of `margay source template` by the calls that CloudFormation makes for them.

The API server's own CloudFormation passes over subscriptions, notifications of buckets and outputs. What this file does not
know of a template it refuses, so that a template can't grow past the tests. Called as `aws cloudformation …` is.
"""

import argparse
import json
import pathlib
import sys

import boto3
import yaml

STACKS = pathlib.Path(__file__).with_name("stacks")


class Stack:
    def __init__(self, template, region, capabilities):
        self.template, self.region = template, region
        self.made = {}
        named = any(r["Type"].startswith("AWS::IAM::") for r in template["Resources"].values())
        if named and "CAPABILITY_NAMED_IAM" not in capabilities:
            sys.exit("Requires capabilities : [CAPABILITY_NAMED_IAM]")

    def client(self, service):
        return boto3.client(service, region_name=self.region)

    def deploy(self):
        waiting = dict(self.template["Resources"])
        while waiting:
            ready = [name for name, body in waiting.items() if not (names(body) & set(waiting) - {name})]
            assert ready, f"these wait for each other: {sorted(waiting)}"
            for name in ready:
                body = waiting.pop(name)
                make = MAKERS[body["Type"]]
                properties = self.value(body["Properties"])
                self.made[name] = make(self, properties)
                assert not properties, f"{name}: not deployed: {sorted(properties)}"
        return [
            {"OutputKey": key, "OutputValue": self.value(output["Value"])}
            for key, output in self.template.get("Outputs", {}).items()
        ]

    def value(self, value):
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if not isinstance(value, dict):
            return value
        if set(value) == {"Ref"}:
            return self.made[value["Ref"]]["Ref"]
        if set(value) == {"Fn::GetAtt"}:
            name, attribute = value["Fn::GetAtt"]
            return self.made[name][attribute]
        assert not any(key.startswith("Fn::") for key in value), value
        return {key: self.value(item) for key, item in value.items()}


def names(value):
    """The resources that a value refers to."""
    if isinstance(value, list):
        return set().union(*map(names, value)) if value else set()
    if not isinstance(value, dict):
        return set()
    found = set().union(*map(names, value.values())) if value else set()
    if "Ref" in value:
        found.add(value["Ref"])
    if "Fn::GetAtt" in value:
        found.add(value["Fn::GetAtt"][0])
    wanted = value.get("DependsOn", [])
    return found | ({wanted} if isinstance(wanted, str) else set(wanted))


def queue(stack, properties):
    name, tags = properties.pop("QueueName"), properties.pop("Tags")
    attributes = {key: properties.pop(key) for key in list(properties)}
    text = {k: json.dumps(v) if isinstance(v, (dict, bool)) else str(v) for k, v in attributes.items()}
    sqs = stack.client("sqs")
    url = sqs.create_queue(QueueName=name, Attributes=text, tags={t["Key"]: t["Value"] for t in tags})["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    return {"Ref": url, "Arn": arn}


def queue_policy(stack, properties):
    policy = json.dumps(properties.pop("PolicyDocument"))
    for url in properties.pop("Queues"):
        stack.client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    return {}


def role(stack, properties):
    iam = stack.client("iam")
    name, policies = properties.pop("RoleName"), properties.pop("Policies")
    made = iam.create_role(
        RoleName=name,
        Path=properties.pop("Path", "/"),
        Description=properties.pop("Description", ""),
        MaxSessionDuration=properties.pop("MaxSessionDuration", 3600),
        AssumeRolePolicyDocument=json.dumps(properties.pop("AssumeRolePolicyDocument")),
        Tags=properties.pop("Tags"),
    )
    for policy in policies:
        document = json.dumps(policy["PolicyDocument"])
        iam.put_role_policy(RoleName=name, PolicyName=policy["PolicyName"], PolicyDocument=document)
    return {"Ref": name, "Arn": made["Role"]["Arn"]}


def topic(stack, properties):
    made = stack.client("sns").create_topic(Name=properties.pop("TopicName"), Tags=properties.pop("Tags"))
    return {"Ref": made["TopicArn"]}


def topic_policy(stack, properties):
    policy = json.dumps(properties.pop("PolicyDocument"))
    for arn in properties.pop("Topics"):
        stack.client("sns").set_topic_attributes(TopicArn=arn, AttributeName="Policy", AttributeValue=policy)
    return {}


def subscription(stack, properties):
    arn, protocol, endpoint = (properties.pop(key) for key in ("TopicArn", "Protocol", "Endpoint"))
    return {"Ref": stack.client("sns").subscribe(TopicArn=arn, Protocol=protocol, Endpoint=endpoint)["SubscriptionArn"]}


def bucket(stack, properties):
    s3, name = stack.client("s3"), properties.pop("BucketName")
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": stack.region})
    s3.put_bucket_ownership_controls(Bucket=name, OwnershipControls=properties.pop("OwnershipControls"))
    s3.put_public_access_block(
        Bucket=name, PublicAccessBlockConfiguration=properties.pop("PublicAccessBlockConfiguration")
    )
    encryption = properties.pop("BucketEncryption")["ServerSideEncryptionConfiguration"]
    rules = [{"ApplyServerSideEncryptionByDefault": rule["ServerSideEncryptionByDefault"]} for rule in encryption]
    s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": rules})
    entries = []
    for entry in properties.pop("NotificationConfiguration")["TopicConfigurations"]:
        made = {"TopicArn": entry["Topic"], "Events": [entry["Event"]]}
        if "Filter" in entry:
            made["Filter"] = {"Key": {"FilterRules": entry["Filter"]["S3Key"]["Rules"]}}
        entries.append(made)
    s3.put_bucket_notification_configuration(
        Bucket=name, NotificationConfiguration={"TopicConfigurations": entries}
    )
    return {"Ref": name}


MAKERS = {
    "AWS::SQS::Queue": queue,
    "AWS::SQS::QueuePolicy": queue_policy,
    "AWS::IAM::Role": role,
    "AWS::SNS::Topic": topic,
    "AWS::SNS::TopicPolicy": topic_policy,
    "AWS::SNS::Subscription": subscription,
    "AWS::S3::Bucket": bucket,
}


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("service", choices=["cloudformation"])
    arguments.add_argument("call", choices=["deploy", "describe-stacks"])
    arguments.add_argument("--stack-name", required=True)
    arguments.add_argument("--template-file", type=pathlib.Path)
    arguments.add_argument("--region", default=boto3.session.Session().region_name)
    arguments.add_argument("--capabilities", nargs="*", default=[])
    arguments.add_argument("--query", choices=["Stacks[0].Outputs"])
    given = arguments.parse_args()
    account = boto3.client("sts", region_name=given.region).get_caller_identity()["Account"]
    stack = STACKS / f"{account}-{given.region}-{given.stack_name}.json"
    if given.call == "deploy":
        assert not stack.exists(), f"{given.stack_name} is deployed already"
        template = yaml.safe_load(given.template_file.read_text())
        outputs = Stack(template, given.region, given.capabilities).deploy()
        STACKS.mkdir(exist_ok=True)
        stack.write_text(json.dumps(outputs))
    print(json.dumps(json.loads(stack.read_text()), indent=4))


if __name__ == "__main__":
    main()
